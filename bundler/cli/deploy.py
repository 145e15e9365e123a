"""`bundle plan` and `bundle apply`, and what `bundle install --site` shares with them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bundler.cli.options import PATH, json_option, passphrase_from, quiet_option, threshold_option, trust_option
from bundler.errors import Usage
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.model.secret import Secret
    from bundler.secrets.unlock import Unlock
    from bundler.workflows.deploy import Deployed, Planned
    from bundler.workflows.deployment import Request

F = TypeVar("F", bound=Callable[..., Any])
HOSTS_AT_ONCE = 32
CHANGES = 3  # the exit code of --detailed-exitcode when there is, or was, something to do

_SITE_OPTIONS = (
    click.option("--secrets", type=PATH, metavar="FILE", help="The site's secrets.  [SITE.secrets]"),
    click.option("--key-file", type=PATH, metavar="FILE", help="The key that opens them.  [SECRETS.key]"),
    click.option("--passphrase-file", type=PATH, metavar="FILE", help="Open them by the passphrase in FILE instead."),
    click.option(
        "--sudo-password-file",
        type=PATH,
        metavar="FILE",
        help="sudo's password, where it wants one; else it is asked for once.",
    ),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 256),
        metavar="N",
        help=f"Work on this many hosts at once.  [{HOSTS_AT_ONCE}]",
    ),
)
_SELECTION = (
    click.option("--only", multiple=True, metavar="NAME", help="Only this component or step; may be repeated."),
    click.option("--from", "start", default="", metavar="STEP", help="Only this step and those after it."),
    click.option("--limit", multiple=True, metavar="HOST", help="Only this host; may be repeated."),
    click.option(
        "--detailed-exitcode",
        "detailed",
        is_flag=True,
        help=f"Exit with {CHANGES} when something is, or was, to be done.",
    ),
)
_APPLYING = (
    click.option("-y", "--yes", is_flag=True, help="Do not ask before the first change."),
    click.option("-n", "--dry-run", is_flag=True, help="Show the plan, change nothing."),
    click.option("--take-over", is_flag=True, help="Take the lease from an installer that still holds it."),
)
site_file_option = click.option(
    "--site", "site_file", type=PATH, default=Path("site.yaml"), show_default=True, metavar="FILE", help="The site."
)


def options(*groups: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    """Several options as one decorator, in their order."""

    def decorate(command: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


site_options = options(_SITE_OPTIONS)
apply_options = options(_SITE_OPTIONS, _SELECTION, _APPLYING)


@click.command()
@click.argument("file", type=PATH, required=False)
@site_file_option
@trust_option
@threshold_option(None)
@options(_SITE_OPTIONS, _SELECTION)
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write the plan too, for `bundle apply --plan FILE`.")
@click.option("--no-diff", is_flag=True, help="Without the differences of files.")
@json_option
def plan(
    file: Path | None,
    site_file: Path,
    output: Path | None,
    no_diff: bool,
    as_json: bool,
    detailed: bool,
    **given: Any,
) -> None:
    """Show what would be done to the site's hosts, and why. Changes nothing.

    FILE is the bundle; without it, the release that was installed last from here. What an earlier step makes known is
    marked as known only later.

    \b
    Example:
      bundle plan site.bundle --trust release.pub --site site.yaml
      bundle plan --limit node2 --json | jq -r '.actions[] | "\\(.host) \\(.kind) \\(.target)"'
    """
    from bundler.workflows.deploy import plan as run
    from bundler.workflows.deploy import write_plan

    planned = run(request_of(file, site_file, **given))
    if output is not None:
        write_plan(output, planned)
    show_plan(planned, as_json=as_json, diffs=not no_diff)
    if detailed and planned.plan:
        raise click.exceptions.Exit(CHANGES)


@click.command()
@click.argument("file", type=PATH, required=False)
@site_file_option
@trust_option
@threshold_option(None)
@apply_options
@click.option(
    "--plan", "shown", type=PATH, metavar="FILE", help="Only if the plan is still what `bundle plan -o` wrote."
)
@json_option
@quiet_option
def apply(file: Path | None, site_file: Path, **given: Any) -> None:
    """Bring the site's hosts to what site.yaml and the release say.

    The plan is shown and asked about first. Killed at any point, the same command goes on; when everything is so
    already it does nothing.

    \b
    Example:
      bundle apply                              # after a change of site.yaml
      bundle plan -o plan.json; bundle apply --plan plan.json --yes
    """
    deploy(file, site_file, **given)


def deploy(
    file: Path | None,
    site_file: Path,
    *,
    yes: bool,
    dry_run: bool,
    detailed: bool,
    as_json: bool,
    quiet: bool,
    shown: Path | None = None,
    **given: Any,
) -> None:
    """Plan, ask, do; or only plan."""
    from bundler.cli.watching import watching
    from bundler.workflows.deploy import deploy as run
    from bundler.workflows.deploy import plan as run_plan

    request = request_of(file, site_file, **given)
    if dry_run:
        planned = run_plan(request, shown=shown)
        show_plan(planned, as_json=as_json)
        if detailed and planned.plan:
            raise click.exceptions.Exit(CHANGES)
        return
    agree = agreeing(yes=yes, show=not quiet and not as_json)
    with watching(quiet=quiet) as watcher:
        done = run(request, watcher=watcher, agree=agree, shown=shown)
    apply_report(done, as_json=as_json)
    if detailed and done.done:
        raise click.exceptions.Exit(CHANGES)


def agreeing(*, yes: bool, show: bool) -> Callable[["Planned"], bool]:
    """Shows the plan and asks. Raises Usage at once when there is nobody to ask."""
    if not yes and not os.isatty(0):
        raise Usage(message="nobody can be asked here", advice="Look at the plan with --dry-run, then give --yes.")

    def agree(planned: "Planned") -> bool:
        if show:
            show_plan(planned, err=True)
        return yes or click.confirm("Do it?", err=True)

    return agree


def request_of(file: Path | None, site_file: Path, **given: Any) -> "Request":
    """The options as the workflows want them."""
    from bundler.signing.keys import read_public_key
    from bundler.workflows.deployment import Request

    password = given.pop("sudo_password_file", None)
    secrets = given.pop("secrets", None)
    kept = secrets or site_file.with_suffix(".secrets")
    unlock = _unlock(kept, given.pop("key_file", None), given.pop("passphrase_file", None))
    jobs = given.pop("jobs", None) or HOSTS_AT_ONCE
    keys = [read_public_key(path) for path in given.pop("trust", ())]
    return Request(
        site=site_file,
        bundle=file,
        keys=keys,
        secrets=secrets,
        unlock=unlock,
        password=_password(password),
        jobs=jobs,
        **given,
    )


def _unlock(secrets: Path, key: Path | None, passphrase: Path | None) -> "Unlock | None":
    """None for new secrets of which nothing is said: a key beside them opens them then."""
    from bundler.cli.secrets import unlock_from

    if key is None and passphrase is None and not secrets.exists():
        return None
    return unlock_from(secrets, key, passphrase)


def _password(file: Path | None) -> "Callable[[str], Secret | None]":
    """sudo's password for a host: from the file, on a terminal by asking, else none."""
    from bundler.model.secret import Secret

    def ask(host: str) -> Secret | None:
        answer = passphrase_from(file, prompt=f"sudo password on {host}")()
        return Secret(answer.decode()) if answer else None

    return ask


def show_plan(planned: "Planned", *, as_json: bool = False, diffs: bool = True, err: bool = False) -> None:
    from bundler.plan.show import as_json as plan_json
    from bundler.plan.show import finding_texts, findings_json, lines

    if as_json:
        facts = {"actions": plan_json(planned.plan), "findings": findings_json(planned.findings)}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for line in lines(planned.plan, diffs=diffs):
        click.echo(_coloured(line), err=err)
    if any(not finding.warning for finding in planned.findings):
        click.echo(click.style("in the way, before anything can be done:", bold=True), err=err)
    for line in finding_texts(sorted(planned.findings, key=lambda finding: finding.warning)):
        click.echo(line, err=err)
    if not planned.plan:
        click.echo("nothing to do", err=err)
        return
    hosts = len({unit.host for unit in planned.plan.units})
    click.echo(f"{counted(planned.plan.count(), 'action')} on {counted(hosts, 'host')}", err=err)


def _coloured(line: str) -> str:
    text = line.lstrip()
    if not line.startswith(" "):
        return click.style(line, bold=True)
    if line.startswith("      "):
        return click.style(line, fg={"+": "green", "-": "red"}.get(text[:1]))
    return line


def apply_report(
    done: "Deployed",
    *,
    as_json: bool = False,
    looked: bool = True,
    nothing: str = "everything is as it should be: nothing to do",
) -> None:
    from bundler.plan.show import listed

    if as_json:
        facts = {
            "changed": done.done > 0,
            "actions": done.done,
            "declined": done.declined,
            "hosts": sorted({unit.host for unit in done.plan.units}),
            "unreachable": list(done.unreachable),
        }
        click.echo(json.dumps(facts, indent=1))
        return
    if done.declined:
        click.echo("nothing was done")
    elif not done.done:
        click.echo(nothing)
    else:
        hosts = len({unit.host for unit in done.plan.units})
        second = "; a second look found nothing left" if looked else ""
        click.echo(f"done: {counted(done.done, 'action')} on {counted(hosts, 'host')}{second}")
    if done.unreachable:
        silent = listed(done.unreachable)
        click.echo(f"note: no answer from {silent}: not told that an earlier installer is overtaken", err=True)
