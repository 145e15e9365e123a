"""`bundle status`, `health`, `restart`, `uninstall` and `logs`: a site that is there already."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.deploy import agreeing, apply_report, options, request_of, show_plan, site_file_option, site_options
from bundler.cli.options import json_option, quiet_option
from bundler.errors import Unhealthy
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.workflows.status import ComponentStatus, Status

_SHOWN = 10  # hosts without an answer
_VERSIONS = 2  # packages of a component
limit_option = (click.option("--limit", multiple=True, metavar="HOST", help="Only this host; may be repeated."),)
_agreeing = (
    click.option("-y", "--yes", is_flag=True, help="Do not ask before the first change."),
    click.option("--take-over", is_flag=True, help="Take the lease from an installer that still holds it."),
)


@click.command()
@site_file_option
@site_options
@options(limit_option)
@json_option
def status(site_file: Path, as_json: bool, **given: Any) -> None:
    """Show what runs on the site's hosts: components, versions, health, drift.

    Drift is what `bundle apply` would mend; `bundle plan` shows it. A host that does not answer is part of the answer.

    \b
    Example:
      bundle status
      bundle status --json | jq -r '.components[] | select(.drift > 0) | .name'
    """
    from bundler.workflows.status import as_json as status_json
    from bundler.workflows.status import status as run

    found = run(request_of(None, site_file, **given))
    if as_json:
        click.echo(json.dumps(status_json(found), indent=1, ensure_ascii=False))
        return
    silent = f", {len(found.unreachable)} without an answer" if found.unreachable else ""
    click.echo(f"release {found.release}, {counted(len(found.hosts), 'host')}{silent}")
    _table(found)
    for part in found.components:
        if part.ends:
            first = part.ends
            click.echo(
                f"certificates of {part.name}: {first.certificate} on {first.host} ends first, {first.at:%Y-%m-%d}"
            )
    _problems(found)


@click.command()
@site_file_option
@site_options
@options(limit_option)
@json_option
def health(site_file: Path, as_json: bool, **given: Any) -> None:
    """Say whether everything is well, and what is not: exit code 69 when something fails.

    \b
    Example:
      bundle health && echo well
    """
    from bundler.workflows.status import problems_json
    from bundler.workflows.status import status as run

    found = run(request_of(None, site_file, **given))
    if as_json:
        click.echo(json.dumps(problems_json(found), indent=1, ensure_ascii=False))
    else:
        _problems(found)
    if not found.healthy:
        failing = sorted({finding.host for finding in found.findings if not finding.warning} | set(found.unreachable))
        raise Unhealthy(hosts=tuple(failing))
    if not as_json:
        click.echo(f"{counted(len(found.hosts), 'host')}: everything is well")


@click.command()
@click.argument("component")
@site_file_option
@site_options
@options(limit_option, _agreeing)
@quiet_option
def restart(component: str, site_file: Path, yes: bool, quiet: bool, **given: Any) -> None:
    """Restart a component's services, one host after the other.

    \b
    Example:
      bundle restart dns --limit node1
    """
    from bundler.cli.watching import watching
    from bundler.workflows.operate import restart as run

    request = request_of(None, site_file, **given)
    agree = agreeing(yes=yes, show=not quiet)
    with watching(quiet=quiet) as watcher:
        done = run(request, component, watcher=watcher, agree=agree)
    apply_report(done, looked=False)


@click.command()
@click.argument("component")
@site_file_option
@site_options
@options(limit_option, _agreeing)
@click.option("--purge", is_flag=True, help="Its data too.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan, change nothing.")
@quiet_option
def uninstall(
    component: str, site_file: Path, yes: bool, purge: bool, dry_run: bool, quiet: bool, **given: Any
) -> None:
    """Take a component away from the site's hosts. Its data stays, unless --purge.

    Packages stay, and what the hosts had before comes back. `bundle apply` installs the component again.

    \b
    Example:
      bundle uninstall dns --dry-run
    """
    from bundler.cli.watching import watching
    from bundler.workflows.operate import plan_uninstall
    from bundler.workflows.operate import uninstall as run

    request = request_of(None, site_file, **given)
    if dry_run:
        show_plan(plan_uninstall(request, component, purge=purge))
        return
    agree = agreeing(yes=yes, show=not quiet)
    with watching(quiet=quiet) as watcher:
        done = run(request, component, purge=purge, watcher=watcher, agree=agree)
    apply_report(done, nothing=f"nothing of {component} is there: nothing to do")


@click.command()
@click.argument("component")
@site_file_option
@site_options
@options(limit_option)
@click.option(
    "--lines", type=click.IntRange(1, 20000), default=100, show_default=True, metavar="N", help="Of each host."
)
@click.option("--since", default="", metavar="TIME", help="As journalctl takes it: `-1h`, `2026-01-31 12:00`.")
def logs(component: str, site_file: Path, lines: int, since: str, **given: Any) -> None:
    """Show the journals of a component's services, with the host before each line.

    \b
    Example:
      bundle logs registry --limit node1 --since -10min
    """
    from bundler.workflows.deployment import deployment
    from bundler.workflows.operate import logs as run

    request = request_of(None, site_file, **given)
    with deployment(request, create=False) as deployed:
        for host, line in run(deployed, request, component, lines=lines, since=since):
            click.echo(f"{host}  {line}")


def _table(found: "Status") -> None:
    rows = [("COMPONENT", "HOSTS", "HEALTH", "DRIFT", "VERSION")]
    for part in found.components:
        if not part.hosts:
            continue
        failing = len({finding.host for finding in part.findings if not finding.warning})
        health = f"{failing} failing" if failing else "warnings" if part.findings else "well"
        if part.uninstalled:
            everywhere = part.uninstalled == part.hosts
            health = "uninstalled" if everywhere else f"{health}, uninstalled on {part.uninstalled}"
        drift = counted(part.drift, "action") if part.drift else "-"
        rows.append((part.name, str(part.hosts), health, drift, _versions(part)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        click.echo("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])))


def _versions(part: "ComponentStatus") -> str:
    """Its packages, those first that are not the same everywhere."""
    names: dict[str, list[str]] = {}
    for version in sorted(part.versions):
        names.setdefault(version.partition(" ")[0], []).append(version)
    mixed = [f"{each} ({part.versions[each]})" for same in names.values() if len(same) > 1 for each in same]
    same = [same[0] for same in names.values() if len(same) == 1]
    shown = [*mixed, *same][: max(_VERSIONS, len(mixed))]
    more = len(mixed) + len(same) - len(shown)
    return (", ".join(shown) or "-") + (f" and {more} more" if more else "")


def _problems(found: "Status") -> None:
    from bundler.plan.show import finding_texts

    for error in list(found.unreachable.values())[:_SHOWN]:
        click.echo(error.summary)
        if error.hint:
            click.echo(f"  fix: {error.hint}")
    if len(found.unreachable) > _SHOWN:
        click.echo(f"and {len(found.unreachable) - _SHOWN} hosts more; --json names them all")
    for line in finding_texts(sorted(found.findings, key=lambda finding: finding.warning)):
        click.echo(line)
