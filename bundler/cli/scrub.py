"""`bundle scrub`: a site's store hashed again and mended."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.options import PATH, jobs_option, json_option, quiet_option
from bundler.cli.progress import human, progress_of
from bundler.errors import Usage

if TYPE_CHECKING:
    from bundler.workflows.scrub import Scrubbed

_RATE = re.compile(r"([1-9][0-9]{0,8})([kMG]?)B?(?:/s)?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


@click.command()
@click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's folder.")
@click.option(
    "--from",
    "sources",
    type=PATH,
    multiple=True,
    metavar="BUNDLE",
    help="Mend from this bundle, which must be signed by keys that the site trusts. May be repeated.",
)
@click.option("--limit", default="", metavar="RATE", help="Read no faster: 50M is 50 MB a second.")
@jobs_option
@json_option
@quiet_option
def scrub(root: Path, sources: tuple[Path, ...], limit: str, jobs: int | None, as_json: bool, quiet: bool) -> None:
    """Hash every blob of a site's store again, and mend what is damaged or gone.

    What is wrong is named with the artifacts that need it. Views that still have a blob give it back; so does any
    bundle that has it, an old one too. A damaged blob is written right in its place, and clients that read it meanwhile
    are not interrupted. The site serves and installs as ever; other programs come first, on the disk too.

    Exit code 118 when something stays damaged.

    \b
    Example:
      bundle scrub --root /srv/site --limit 50M
      bundle scrub --root /srv/site --from site.bundle --from older.bundle
    """
    from bundler.support.gentle import be_gentle
    from bundler.workflows.scrub import scrub as run

    rate = _rate(limit)
    be_gentle()
    with progress_of("scrub", quiet=quiet) as progress:
        done = run(root, sources=sources, jobs=jobs or 2, rate=rate, progress=progress)
    if as_json:
        click.echo(json.dumps(_facts(done), indent=2))
    elif not quiet:
        _show(done)
    if done.failure is not None:
        raise done.failure


def _show(done: "Scrubbed") -> None:
    click.echo(f"{done.root}: {done.blobs} blobs, {human(done.size)}, {done.found or 'none'} damaged or gone")
    for digest, source in done.repaired:
        click.echo(f"  mended from {source}: {digest}")
    for digest in done.removed:
        click.echo(f"  taken away, as nothing needs it: {digest}")
    for name in done.views:
        click.echo(f"  views made anew: {name}")


def _facts(done: "Scrubbed") -> dict[str, Any]:
    return {
        "root": str(done.root),
        "blobs": done.blobs,
        "bytes": done.size,
        "found": done.found,
        "repaired": [{"digest": digest, "from": source} for digest, source in done.repaired],
        "removed": list(done.removed),
        "views": list(done.views),
        "rotten": [{"digest": digest, "artifacts": list(owners)} for digest, owners in done.rotten],
        "missing": [{"digest": digest, "artifacts": list(owners)} for digest, owners in done.missing],
    }


def _rate(text: str) -> int:
    """Bytes a second; 0 for no bound. Raises Usage."""
    if not text:
        return 0
    match = _RATE.fullmatch(text)
    if match is None:
        raise Usage(message=f"--limit {text[:40]!r} is no rate", advice="Give bytes a second, such as 50M.")
    return int(match[1]) * _UNITS[match[2]]
