"""`bundle verify`, `bundle inspect`, `bundle extract`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import (
    PATH,
    STDIN,
    disk_option,
    jobs_option,
    json_option,
    quiet_option,
    threshold_option,
    trust_option,
)
from bundler.cli.progress import human, progress_of
from bundler.errors import Usage

if TYPE_CHECKING:
    from bundler.workflows.verify import VerifiedSlice


@click.command()
@click.argument("file", type=PATH)
@trust_option
@threshold_option(1)
@disk_option
@jobs_option
@json_option
@quiet_option
def verify(
    file: Path,
    trust: tuple[Path, ...],
    threshold: int,
    disks: tuple[Path, ...],
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prove every byte of a bundle.

    First the signatures, then that the file is what the signed statement says, to the last byte. What is damaged is
    named. Of volumes, NAME.volumes.json stands for the whole, and NAME.003 for that slice alone; `-` is a bundle on
    standard input.

    \b
    Example:
      bundle verify site.bundle --trust release.pub
      bundle verify site.bundle.volumes.json --trust release.pub --disk /media/a --disk /media/b
      bundle verify /media/b/site.bundle.003 --trust release.pub
    """
    from bundler.signing.keys import read_public_key
    from bundler.support.parallel import cores
    from bundler.workflows.arrive import verify_stream
    from bundler.workflows.verify import verify as run
    from bundler.workflows.verify import verify_slice

    if not trust:
        raise Usage(message="give at least one --trust NAME.pub", advice="Without a trusted key nothing can be proved.")
    keys = [read_public_key(path) for path in trust]
    with progress_of("verify", quiet=quiet) as progress:
        one = verify_slice(file, keys=keys, threshold=threshold, progress=progress, folders=disks)
        if one is not None:
            _tell_slice(one, as_json=as_json)
            return
        if file == STDIN:
            done = verify_stream(0, keys=keys, threshold=threshold, progress=progress)
        else:
            done = run(file, keys=keys, threshold=threshold, jobs=jobs or cores(), progress=progress, folders=disks)
    if as_json:
        facts = {
            "bundle": str(file),
            "size": done.layout.size,
            "release": {"line": done.statement.release.line, "number": done.statement.release.number},
            "content": str(done.statement.content),
            "entries": len(done.statement.entries),
            "signed": list(done.signed),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{file}: good, every byte of {human(done.layout.size)}")
    click.echo(f"  release {done.statement.release}, content {done.statement.content}")
    for keyid in done.signed:
        click.echo(f"  signed by {keyid}, trusted")


def _tell_slice(one: "VerifiedSlice", *, as_json: bool) -> None:
    volumes, said = one.volumes, one.volumes.slices[one.number - 1]
    if as_json:
        facts = {
            "slice": str(one.path),
            "number": one.number,
            "slices": len(volumes.slices),
            "size": said.size,
            "digest": str(said.digest),
            "release": {"line": volumes.release.line, "number": volumes.release.number},
            "content": str(volumes.content),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{one.path}: good, slice {one.number} of {len(volumes.slices)}, every byte of {human(said.size)}")
    click.echo(f"  release {volumes.release}, content {volumes.content}")


@click.command()
@click.argument("file", type=PATH)
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """List what a bundle holds.

    Reads the statement and the images' manifests, in no time for any size; proves nothing. `bundle verify` does.

    \b
    Example:
      bundle inspect site.bundle
      bundle inspect site.bundle --json | jq '.artifacts[].name'
    """
    from bundler.workflows.look import inspect as run

    found = run(file)
    statement = found.statement
    if as_json:
        facts = {
            "bundle": str(file),
            "size": found.size,
            "release": {"line": statement.release.line, "number": statement.release.number},
            "content": str(statement.content),
            "kind": statement.kind,
            "platforms": [str(platform) for platform in statement.platforms],
            "tool": statement.tool,
            "signers": list(found.signers),
            "artifacts": [
                {
                    "kind": row.kind,
                    "name": row.name,
                    "digest": str(row.digest),
                    "size": row.size,
                    "shared": row.shared,
                    "synthesised": row.synthesised,
                }
                for row in found.rows
            ],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{file}  {human(found.size)}  release {statement.release}  made by {statement.tool}")
    click.echo(f"content   {statement.content}")
    click.echo(f"platforms {', '.join(map(str, statement.platforms))}")
    for keyid in found.signers or ("nobody, inside the file",):
        click.echo(f"signed by {keyid}")
    click.echo()
    width = max((len(row.name) for row in found.rows), default=4)
    click.echo(f"{'KIND':<6} {'NAME':<{width}} {'SIZE':>10} {'SHARED':>10}  DIGEST")
    for row in found.rows:
        shared = human(row.shared) if row.shared else "-"
        ours = "  synthesised: it came from no registry" if row.synthesised else ""
        line = f"{row.kind:<6} {row.name:<{width}} {human(row.size):>10} {shared:>10}  {row.digest.hex[:12]}"
        click.echo(line + ours)


@click.command()
@click.argument("file", type=PATH)
@click.argument("name")
@click.option("-o", "--output", type=PATH, default=None, help="Where to write it.  [the artifact's own name, here]")
@trust_option
@threshold_option(1)
def extract(file: Path, name: str, output: Path | None, trust: tuple[Path, ...], threshold: int) -> None:
    """Take one artifact out of a bundle, without an installation.

    NAME is as `bundle inspect` shows it; images.lock is the lock that the bundle was made from. The signatures and the
    artifact's own digest are proved first.

    \b
    Example:
      bundle extract site.bundle welcome.html --trust release.pub
      bundle extract site.bundle images.lock --trust release.pub -o old.lock
    """
    from bundler.model.names import check_segment
    from bundler.signing.keys import read_public_key
    from bundler.workflows.look import extract as run

    if not trust:
        raise Usage(message="give at least one --trust NAME.pub", advice="Nothing is unpacked unproved.")
    keys = tuple(read_public_key(path) for path in trust)
    target = output or Path(name)
    if output is None and "/" not in name:
        check_segment(name)
    size = run(file, name, target, keys=keys, threshold=threshold)
    click.echo(f"wrote {target}: {human(size)}")
