"""`bundle squash`."""

import json
from pathlib import Path

import click

from bundler.cli.options import (
    PATH,
    jobs_option,
    json_option,
    passphrases_option,
    quiet_option,
    signing_keys,
    threshold_option,
    trust_option,
    volume_sizes,
)
from bundler.cli.progress import human, progress_of
from bundler.errors import Usage
from bundler.support.progress import counted


@click.command()
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE...")
@click.option("-o", "--output", type=PATH, required=True, metavar="OUT", help="The bundle file to make.")
@click.option("--key", "keys", type=PATH, multiple=True, metavar="NAME.key", help="Sign with it; may be repeated.")
@trust_option
@threshold_option(1)
@click.option("--volume-size", metavar="SIZE", shell_complete=volume_sizes, help="Make slices, as `create` does.")
@passphrases_option
@click.option("-n", "--dry-run", is_flag=True, help="Say what it would be; write nothing.")
@jobs_option
@json_option
@quiet_option
def squash(
    bundles: tuple[Path, ...],
    output: Path,
    keys: tuple[Path, ...],
    trust: tuple[Path, ...],
    threshold: int,
    volume_size: str | None,
    passphrase_files: tuple[Path, ...],
    dry_run: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make one delta of a chain of deltas, the oldest first: what the last one brings, for who has what the first one
    builds on. With a whole bundle first it is a whole bundle of the last release.

    Nothing is fetched. Blobs that come as patches are made whole where the chain has what they are made of; other
    patches go on as they are. A patch on top of such a patch needs the whole bundle first.

    The result has a statement of its own, so it is signed anew; every bundle that goes into it must be signed by the
    keys of --trust, or without it by those that sign now. Killed at any point, the same goes on.

    \b
    Example:
      bundle squash fix-1.bundle fix-2.bundle --key release.key -o fix.bundle
      bundle squash site.bundle fix-1.bundle fix-2.bundle --key release.key -o site-3.bundle
    """
    from bundler.model.volumes import parse_size
    from bundler.signing.keys import read_public_key
    from bundler.signing.trust import Trust
    from bundler.support.parallel import cores
    from bundler.workflows.squash import squash as run

    signing = signing_keys(keys, passphrase_files)
    trusted = [read_public_key(path) for path in trust] or [key.public for key in signing]
    if not trusted:
        raise Usage(message="nothing says whose bundles these may be", advice="Give --key, or --trust.")
    with progress_of("squash", quiet=quiet) as progress:
        done = run(
            bundles,
            output,
            keys=signing,
            trust=Trust(keys=tuple(dict.fromkeys(trusted)), threshold=threshold),
            jobs=jobs or cores(),
            progress=progress,
            volume=parse_size(volume_size) if volume_size else None,
            dry_run=dry_run,
        )
    statement, delta = done.statement, done.statement.delta
    left = sum(held.size for held in delta.held) if delta else 0
    if as_json:
        facts = {
            "bundle": str(done.out),
            "written": done.written,
            "size": done.size,
            "release": {"line": statement.release.line, "number": statement.release.number},
            "content": str(statement.content),
            "kind": statement.kind,
            "bases": [str(base.release) for base in delta.bases] if delta else [],
            "held": left,
            "made": done.made,
            "patches": len(statement.patches),
            "signers": [key.public.keyid for key in signing],
            "slices": [str(path) for path in done.slices],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    verb = "wrote" if done.written else "would write"
    what = f"{done.out}.volumes.json and {counted(len(done.slices), 'slice')}" if done.slices else str(done.out)
    click.echo(f"{verb} {what}: {human(done.size)}, release {statement.release}")
    if delta:
        against = ", ".join(str(base.release) for base in delta.bases)
        click.echo(f"  a delta against {against}: the site has {len(delta.held)} blobs of it, {human(left)}")
    if done.made:
        click.echo(f"  {counted(done.made, 'blob')} made whole of patches")
    if statement.patches:
        click.echo(f"  {counted(len(statement.patches), 'blob')} as patches")
    for key in signing:
        click.echo(f"  signed by {key.public.keyid}")
    if not signing:
        click.echo("  not signed: a site will refuse it until `bundle sign` has put a signature beside it")
