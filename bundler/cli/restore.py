"""`bundle restore`: a component's data back from a snapshot."""

import json
from pathlib import Path
from typing import Any

import click

from bundler.cli.deploy import (
    agreeing,
    apply_report,
    options,
    request_of,
    show_plan,
    site_file_option,
    site_options,
)
from bundler.cli.options import json_option, quiet_option
from bundler.errors import Usage

_CHOICE = (
    click.option("--list", "listing", is_flag=True, help="Only list the snapshots that there are, newest first."),
    click.option("--snapshot", default="", metavar="HOST:NAME", help="This one, instead of the newest."),
    click.option("--again", is_flag=True, help="Although it was restored already: what changed since is lost."),
    click.option(
        "--without",
        multiple=True,
        metavar="HOST",
        help="This host does not answer, and must never come back as it was; may be repeated.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Do not ask before the first change."),
    click.option("-n", "--dry-run", is_flag=True, help="Show the plan, change nothing."),
    click.option("--take-over", is_flag=True, help="Take the lease from an installer that still holds it."),
)


@click.command()
@click.argument("component")
@site_file_option
@site_options
@options(_CHOICE)
@json_option
@quiet_option
def restore(
    component: str,
    site_file: Path,
    listing: bool,
    snapshot: str,
    again: bool,
    without: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Bring a component's data back from a snapshot: the newest of all its hosts, or the one that is named.

    What changed since that snapshot is lost; what there was is set aside on the hosts. The plan is shown and asked
    about first. Killed at any point, the same command goes on.

    \b
    Example:
      bundle restore kubernetes --list
      bundle restore kubernetes
    """
    from bundler.cli.watching import watching
    from bundler.workflows.restore import Wish, plan_restore
    from bundler.workflows.restore import restore as run

    request = request_of(None, site_file, **given)
    if listing:
        _list(request, component, as_json=as_json)
        return
    if snapshot and not all(snapshot.partition(":")):
        raise Usage(message=f"--snapshot {snapshot}: not HOST:NAME", advice="--list shows those that there are.")
    wish = Wish(snapshot=snapshot, again=again, without=without)
    if dry_run:
        show_plan(plan_restore(request, component, wish), as_json=as_json)
        return
    agree = agreeing(yes=yes, show=not quiet and not as_json)
    with watching(quiet=quiet) as watcher:
        done = run(request, component, wish, watcher=watcher, agree=agree)
    apply_report(done, as_json=as_json, nothing="it was restored from that snapshot already: nothing to do (--again)")


def _list(request: Any, component: str, *, as_json: bool) -> None:
    from bundler.workflows.restore import snapshots

    found = snapshots(request, component)
    if as_json:
        facts = [
            {"host": host, "name": each.name, "digest": str(each.digest), "size": each.size, "about": each.about}
            for host, each in found
        ]
        click.echo(json.dumps({"snapshots": facts}, indent=1))
        return
    for host, each in found:
        click.echo(f"{host}:{each.name}  {each.size:>12,} bytes  {each.about}")
    if not found:
        click.echo("there are none yet")
