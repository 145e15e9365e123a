"""`bundle copy`."""

import json
from pathlib import Path

import click

from bundler.cli.options import PATH, jobs_option, json_option, quiet_option, threshold_option, trust_option
from bundler.cli.progress import human, progress_of
from bundler.support.progress import counted


@click.command()
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@click.argument("disk", type=PATH)
@trust_option
@threshold_option(1)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be copied, and whether it fits; write nothing.")
@jobs_option
@json_option
@quiet_option
def copy(
    files: tuple[Path, ...],
    disk: Path,
    trust: tuple[Path, ...],
    threshold: int,
    dry_run: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy a bundle, or slices of one, to a medium, and prove that the medium gives it back.

    Written, synced, taken out of memory, read from the medium and compared by digest; only then a file gets its name.
    Signatures beside it come along. Of volumes, NAME.volumes.json means all slices and NAME.003 that one. With --trust
    the signatures are judged first. Interrupted, the same command goes on; nothing is ever replaced.

    \b
    Example:
      bundle copy site.bundle /media/disk --trust release.pub
      bundle copy site.bundle.001 site.bundle.002 /media/a
    """
    from bundler.signing.keys import read_public_key
    from bundler.support.parallel import cores
    from bundler.workflows.copy import copy as run

    keys = [read_public_key(path) for path in trust]
    with progress_of("copy", quiet=quiet) as progress:
        done = run(
            files, disk, keys=keys, threshold=threshold, dry_run=dry_run, jobs=jobs or cores(), progress=progress
        )
    if as_json:
        facts = {
            "disk": str(done.disk),
            "files": list(done.files),
            "written": done.written,
            "there": done.there,
            "cached": done.cached,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    if dry_run:
        click.echo(f"would copy to {disk}: {human(done.written)}, and {human(done.there)} are there: it fits")
    else:
        click.echo(f"{disk}: good, {counted(len(done.files), 'file')}, read back from the medium byte by byte")
        click.echo(f"  {human(done.written)} written, {human(done.there)} were there")
    for name in done.files:
        click.echo(f"  {name}")
    if done.cached:
        click.echo(
            f"note: {human(done.cached)} could not be taken out of memory: they say nothing of the medium", err=True
        )
