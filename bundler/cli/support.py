"""`bundle support-bundle`: one file for those who help and were not there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.deploy import options, request_of, site_file_option, site_options
from bundler.cli.operate import limit_option
from bundler.cli.options import PATH, json_option
from bundler.cli.progress import human
from bundler.support import clock
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.workflows.support import Collected


@click.command("support-bundle")
@site_file_option
@site_options
@options(limit_option)
@click.option("-o", "--output", type=PATH, metavar="FILE", help="The archive.  [support-SITE-TIME.tar.gz]")
@click.option("--since", default="", metavar="TIME", help="Journals from then on: `-2h`, `2026-01-31 12:00`.")
@json_option
def support_bundle(site_file: Path, output: Path | None, since: str, as_json: bool, **given: Any) -> None:
    """Gather what support needs into one file, without secrets.

    The site's state and plan, the installer's journal, and of each host its services' journals, disks, memory, network
    and packages. Every secret of the site is taken out in all the forms that programs write it in, and so is what only
    looks like a password or a key. Look through it before you send it: what nobody can know to be secret is in it.

    Hosts that do not answer are noted; nothing is changed.

    \b
    Example:
      bundle support-bundle --since -2h
      tar -tzf support-lab-20260131T120000Z.tar.gz
    """
    from bundler.workflows.support import collect

    path = output or Path(f"support-{site_file.stem}-{clock.now():%Y%m%dT%H%M%SZ}.tar.gz")
    done = collect(request_of(None, site_file, **given), path, since=since)
    if as_json:
        click.echo(json.dumps(_facts(done), indent=1, ensure_ascii=False))
        return
    click.echo(f"{done.path}: {counted(len(done.files), 'file')}, {human(done.path.stat().st_size)}")
    click.echo(f"  taken out: {counted(done.removed, 'secret')}, and {done.guessed} that looked like one")
    for name, why in done.missing.items():
        click.echo(f"  not in it: {name.removeprefix('hosts/')}: {why}")


def _facts(done: "Collected") -> dict[str, Any]:
    return {
        "file": str(done.path),
        "size": done.path.stat().st_size,
        "files": [{"name": name, "size": size} for name, size in done.files.items()],
        "missing": dict(done.missing),
        "removed": done.removed,
        "guessed": done.guessed,
    }
