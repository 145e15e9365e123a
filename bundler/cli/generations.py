"""`bundle releases`, `bundle rollback`, `bundle pin`, `bundle gc`, `bundle history`: the releases that a site keeps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.options import PATH, check_reason, json_option, quiet_option
from bundler.cli.progress import human
from bundler.cli.wholesite import place_of, where_options
from bundler.cli.wholesite import rollback as everywhere
from bundler.errors import BundleError

if TYPE_CHECKING:
    from bundler.site.kept import Kept
    from bundler.workflows.gc import Collected
    from bundler.workflows.releases import Releases, Shown
    from bundler.workflows.rollback import Change

_NAMED = 8  # artifacts named of each kind of change

root_option = click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's folder.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the site's history.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def _kept_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from bundler.site.kept import kept

    try:
        found = kept(ctx.params["root"]) if ctx.params.get("root") else ()
    except (BundleError, OSError):
        return []
    return [each.short for each in found if each.short.startswith(incomplete)]


@click.command()
@root_option
@json_option
def releases(root: Path, as_json: bool) -> None:
    """List the releases that a site keeps.

    Which one is in use, which one was before it, what each takes on the disk alone and with others, what is pinned, and
    the highest release that the site has seen of each line.

    \b
    Example:
      bundle releases --root /srv/site
    """
    from bundler.workflows.releases import releases as run

    found = run(root)
    if as_json:
        click.echo(json.dumps(_facts(found), indent=2))
        return
    for each in found.shown:
        click.echo(_line(each))
    if not found.shown:
        click.echo(f"{root} keeps no release")
    for line, (number, _) in sorted(found.highest.items()):
        click.echo(f"highest seen: {line} {number}")
    if found.unfinished:
        click.echo(f"an installation of {found.unfinished} was interrupted: the same `bundle install` goes on with it")


def _line(each: "Shown") -> str:
    marks = ["in use"] if each.in_use else []
    marks += ["pinned"] if each.pinned else []
    marks += [f"{each.missing} blobs are missing: `bundle scrub`"] if each.missing else []
    since = f"  since {each.brought.at:%Y-%m-%d %H:%M}" if each.brought else ""
    sizes = f"{human(each.size):>9}, alone {human(each.own):>9}"
    mark, content = "*" if each.in_use else " ", each.one.statement.content.hex[:12]
    return f"{mark} {each.one.short:24} {content}  {sizes}{since}  {', '.join(marks)}".rstrip()


def _facts(found: "Releases") -> dict[str, Any]:
    return {
        "root": str(found.site.root),
        "releases": [
            {
                **_named(each.one),
                "inUse": each.in_use,
                "pinned": each.pinned,
                "installed": f"{each.brought.at:%Y-%m-%dT%H:%M:%SZ}" if each.brought else None,
                "before": each.before or None,
                "bytes": each.size,
                "own": each.own,
                "shared": each.size - each.own,
                "missing": each.missing,
            }
            for each in found.shown
        ],
        "highest": [
            {"line": line, "number": number, "content": str(content)}
            for line, (number, content) in sorted(found.highest.items())
        ],
        "unfinished": found.unfinished or None,
        "bytes": found.size,
    }


def _named(one: "Kept") -> dict[str, Any]:
    release = {"line": one.release.line, "number": one.release.number}
    return {"generation": one.name, "release": release, "content": str(one.statement.content)}


@click.command()
@click.argument("release", required=False, shell_complete=_kept_names)
@where_options
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change for clients; change nothing.")
@yes_option
@reason_option
@json_option
def rollback(
    release: str | None,
    root: Path | None,
    site_file: Path | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Return to the release before, or to a named one that the site keeps.

    It is complete, or refused: every blob of it must be in the store. The switch is one rename; clients that are in the
    middle of something still find what they were told of. apt's indexes are signed anew with a later date.

    The site still knows the highest release that it has seen: what was left can be installed again, an older bundle
    cannot. In a script name the RELEASE: run twice, it is done once.

    With --site all site hosts go there, one after the other, and only if all of them can.

    \b
    Example:
      bundle rollback --root /srv/site --dry-run
      bundle rollback quickstart-3 --root /srv/site --yes
      bundle rollback --site site.yaml
    """
    from bundler.workflows.rollback import plan
    from bundler.workflows.rollback import rollback as run

    reason = check_reason(reason)
    root = place_of(root, site_file)
    if root is None:
        assert site_file is not None
        everywhere(release or "", site_file, reason=reason, dry_run=dry_run, yes=yes, as_json=as_json, **given)
        return
    change = plan(root, release)
    if not as_json:
        _show_change(change)
    if not (dry_run or change.nothing):
        if not yes and not click.confirm("Do it?", err=True):
            raise click.Abort
        change = run(root, change.there.name, reason=reason)
    if as_json:
        click.echo(json.dumps(_change_facts(change, done=not dry_run), indent=2))
    elif not (dry_run or change.nothing):
        click.echo(f"{root} now uses release {change.there.release}")


def _show_change(change: "Change") -> None:
    if change.nothing:
        click.echo(f"{change.root} uses release {change.here.release} already: nothing to do")
        return
    click.echo(f"from release {change.here.release} to release {change.there.release}")
    for words, names in (
        ("no longer there", change.gone),
        ("there again", change.back),
        ("another one under its name", change.other),
    ):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        if names:
            click.echo(f"  {words}: {', '.join(names[:_NAMED])}{more}")


def _change_facts(change: "Change", *, done: bool) -> dict[str, Any]:
    return {
        "root": str(change.root),
        "from": _named(change.here),
        "to": _named(change.there),
        "gone": list(change.gone),
        "back": list(change.back),
        "other": list(change.other),
        "changed": done and not change.nothing,
    }


@click.command()
@click.argument("release", shell_complete=_kept_names)
@root_option
@click.option("--remove", is_flag=True, help="Take the pin away.")
def pin(release: str, root: Path, remove: bool) -> None:
    """Keep a release whatever `bundle gc` is told to keep.

    \b
    Example:
      bundle pin quickstart-3 --root /srv/site
      bundle pin quickstart-3 --root /srv/site --remove
    """
    from bundler.workflows.releases import pin as run

    one, changed = run(root, release, remove=remove)
    state = "not pinned" if remove else "pinned"
    click.echo(f"release {one.release} is {state}" + ("" if changed else " already"))


@click.command()
@root_option
@click.option(
    "--keep", type=click.IntRange(1, 1000), default=2, show_default=True, metavar="N", help="Keep so many releases."
)
@click.option(
    "--in-use",
    "running",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Digests that workloads use, one sha256:… a line: a release that has them stays. May be repeated.",
)
@click.option("--abandon", is_flag=True, help="Give up an installation that was interrupted, and what it brought.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go; take nothing away.")
@json_option
@quiet_option
def gc(
    root: Path, keep: int, running: tuple[Path, ...], abandon: bool, dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Give back the disk that old releases take.

    The release in use and those that were in use before it stay, N in all; so does what is pinned, what workloads use,
    and what an interrupted installation has brought. All else goes: releases as a whole, their repositories, and blobs
    that none of the kept ones needs. Nothing needs room on the disk for that, and killed at any point the same command
    goes on. Files that other programs keep there are not touched.

    \b
    Example:
      bundle gc --root /srv/site --dry-run
      bundle gc --root /srv/site --keep 3 --in-use running.txt
    """
    from bundler.workflows.gc import gc as run
    from bundler.workflows.gc import plan

    if dry_run:
        done = plan(root, keep=keep, running=running, abandon=abandon)
    else:
        done = run(root, keep=keep, running=running, abandon=abandon)
    if as_json:
        click.echo(json.dumps(_collected_facts(done, changed=not (dry_run or done.what.nothing)), indent=2))
    elif not quiet:
        _show_collected(done, dry_run=dry_run)


def _show_collected(done: "Collected", *, dry_run: bool) -> None:
    for each in done.stays:
        click.echo(f"  stays  {each.short:24} {done.why[each.name]}")
    for each in done.what.drop:
        click.echo(f"  goes   {each.short:24}")
    if done.unfinished is not None:
        release = done.unfinished.release
        click.echo(f"  stays  what the interrupted installation of {release} brought (--abandon ends that)")
    if done.what.nothing:
        click.echo(f"{done.root}: nothing to take away")
        return
    count = len(done.what.blobs) + len(done.what.begun)
    verb = "would give back" if dry_run else "gave back"
    click.echo(f"{done.root}: {count} blobs, {verb} {human(done.what.freed)}")


def _collected_facts(done: "Collected", *, changed: bool) -> dict[str, Any]:
    return {
        "root": str(done.root),
        "stays": [{**_named(each), "why": done.why[each.name]} for each in done.stays],
        "goes": [_named(each) for each in done.what.drop],
        "unfinished": str(done.unfinished.release) if done.unfinished else None,
        "blobs": len(done.what.blobs) + len(done.what.begun),
        "bytes": done.what.freed,
        "changed": changed,
    }


@click.command()
@root_option
@json_option
def history(root: Path, as_json: bool) -> None:
    """Show what happened on a site: releases that came, rollbacks, changes of trust, each with its reason.

    \b
    Example:
      bundle history --root /srv/site
    """
    from bundler.site.history import plain
    from bundler.workflows.releases import history_of

    events = history_of(root)
    if as_json:
        click.echo(json.dumps([plain(event) for event in events], indent=2))
        return
    for event in events:
        what = f"{event.generation or ', '.join(event.signers)}"
        after = f"  after {event.before}" if event.before else ""
        reason = f"  ({event.reason})" if event.reason else ""
        click.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.what:10}  {what}{after}{reason}")
