"""`bundle lock` and `bundle create`."""

import json
from pathlib import Path

import click

from bundler.cli.explain import explained, show_choices
from bundler.cli.options import (
    PATH,
    jobs_option,
    json_option,
    manifests_option,
    mirror_option,
    names_of,
    passphrases_option,
    places_of,
    quiet_option,
    realm_option,
    signing_keys,
    upstream_option,
    volume_sizes,
)
from bundler.cli.progress import counts_of, human, progress_of
from bundler.support.progress import counted

_JOBS = 4


@click.command()
@click.option(
    "-p",
    "--profile",
    required=True,
    metavar="PROFILE",
    shell_complete=names_of("profiles"),
    help="A profile's name, or the path of its file.",
)
@click.option("-o", "--output", type=PATH, default=Path("images.lock"), show_default=True, help="The lock to write.")
@click.option(
    "--update",
    is_flag=False,
    flag_value="*",
    multiple=True,
    metavar="[NAME]",
    help="Move pins: all, or with --update=NAME those of one package, project or image.",
)
@manifests_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change; write nothing.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 73 when the lock is not what it would be now.")
@upstream_option
@mirror_option
@realm_option
@json_option
@quiet_option
def lock(
    profile: str,
    output: Path,
    update: tuple[str, ...],
    manifests: tuple[Path, ...],
    dry_run: bool,
    check: bool,
    upstreams: tuple[str, ...],
    mirrors: tuple[str, ...],
    realms: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Resolve a profile to a lock.

    Names become digests and sizes. Pins of an existing lock stay while their sources serve them; only --update
    moves them. Every change is explained. The lock is what `create` reads, and nothing else.

    \b
    Example:
      bundle lock -p quickstart -o images.lock
      bundle lock -p quickstart --update=numpy --dry-run
      bundle lock -p quickstart --check
    """
    from bundler.workflows.lock import lock as run

    places = places_of(manifests=manifests, upstreams=upstreams, mirrors=mirrors, realms=realms)
    first = not output.exists()
    with progress_of("lock", quiet=quiet) as progress:
        done = run(profile, output, places=places, update=update, dry_run=dry_run, check=check, progress=progress)
    if as_json:
        changes = [
            {"kind": each.kind, "name": each.name, "before": each.before, "after": each.after, "reason": each.reason}
            for each in done.changes
        ]
        click.echo(json.dumps({"lock": str(output), "written": done.written, "changes": changes}, indent=2))
        return
    if first and done.written:
        click.echo(f"wrote {output}: {counts_of(done.lock)}")
        return
    for change in done.changes:
        click.echo(str(change))
    if done.written:
        click.echo(f"wrote {output}")
    else:
        click.echo(f"{output} would change" if dry_run and done.changes else f"{output} is up to date")


@click.command()
@click.option("--lock", "lock_path", type=PATH, default=Path("images.lock"), show_default=True, help="What to fetch.")
@click.option("--key", "keys", type=PATH, multiple=True, metavar="NAME.key", help="Sign with it; may be repeated.")
@click.option("-o", "--output", type=PATH, required=True, metavar="OUT", help="The bundle file to make.")
@click.option(
    "--volume-size",
    metavar="SIZE",
    shell_complete=volume_sizes,
    help="Make slices OUT.001, OUT.002 and on, of this many bytes at most: 4GB, 650MiB, fat32, dvd, bd25 and others.",
)
@click.option("--reuse", type=PATH, multiple=True, metavar="PATH", help="An earlier bundle or site to copy from.")
@click.option(
    "--delta-from",
    "bases",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="A bundle that the site was given, or its receipt: leave out what it has. May be repeated.",
)
@click.option("--no-patch", is_flag=True, help="Of a delta: send every new blob whole.")
@click.option("--explain", is_flag=True, help="Of a delta: say how each large blob travels, and why.")
@click.option("--site-key", "sites", multiple=True, metavar="KEYID", help="The key that a receipt is believed by.")
@manifests_option
@passphrases_option
@upstream_option
@mirror_option
@realm_option
@jobs_option
@json_option
@quiet_option
def create(
    lock_path: Path,
    keys: tuple[Path, ...],
    output: Path,
    volume_size: str | None,
    reuse: tuple[Path, ...],
    bases: tuple[Path, ...],
    no_patch: bool,
    explain: bool,
    sites: tuple[str, ...],
    manifests: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    upstreams: tuple[str, ...],
    mirrors: tuple[str, ...],
    realms: tuple[str, ...],
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fetch everything a lock names into one signed file.

    Each byte is fetched once, hashed on its way, and written into its final place. Killed at any point, the same
    command goes on where it stopped. The same lock gives the same bytes, anywhere. Without --key the bundle is
    unsigned, for `bundle sign` on another machine. With --volume-size it becomes slices for several media, and
    OUT.volumes.json that names them; every command takes that file for the bundle.

    \b
    Example:
      bundle create --lock images.lock --key release.key -o site.bundle
      bundle create --key release.key -o new.bundle --reuse old.bundle
      bundle create --key release.key -o site.bundle --volume-size fat32
      bundle create --key release.key -o fix.bundle --delta-from old.bundle --explain
      bundle create --key release.key -o fix.bundle --delta-from site.receipt --site-key ed25519-4f53…
    """
    from bundler.model.volumes import parse_size
    from bundler.workflows.create import create as run

    places = places_of(manifests=manifests, upstreams=upstreams, mirrors=mirrors, realms=realms, reuse=reuse)
    signing = signing_keys(keys, passphrase_files)
    volume = parse_size(volume_size) if volume_size else None
    with progress_of("create", quiet=quiet) as progress:
        done = run(
            lock_path,
            output,
            keys=signing,
            places=places,
            jobs=jobs or _JOBS,
            progress=progress,
            volume=volume,
            bases=bases,
            sites=sites,
            patch=not no_patch,
        )
    keyids = [key.public.keyid for key in signing]
    if as_json:
        facts = {
            "bundle": str(done.out),
            "size": done.size,
            "received": done.received,
            "resumed": done.resumed,
            "release": {"line": done.statement.release.line, "number": done.statement.release.number},
            "content": str(done.statement.content),
            "kind": done.statement.kind,
            "signers": keyids,
            "slices": [str(path) for path in done.slices],
            **({"blobs": explained(done.choices)} if explain else {}),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    artifacts = len(done.statement.artifacts)
    wrote = f"{done.out}.volumes.json and {counted(len(done.slices), 'slice')}" if done.slices else str(done.out)
    click.echo(f"wrote {wrote}: {human(done.size)}, {artifacts} artifacts, release {done.statement.release}")
    click.echo(f"  received {human(done.received)}{', going on from an earlier run' if done.resumed else ''}")
    if delta := done.statement.delta:
        left = sum(held.size for held in delta.held)
        against = ", ".join(str(base.release) for base in delta.bases)
        click.echo(f"  a delta against {against}: the site has {len(delta.held)} blobs of it, {human(left)}")
        if patches := [each for each in done.choices if each.how == "patch"]:
            sizes = f"{human(sum(each.travels for each in patches))} for {human(sum(each.size for each in patches))}"
            click.echo(f"  {counted(len(patches), 'blob')} as patches: {sizes}")
    if explain:
        show_choices(done.choices)
    for keyid in keyids:
        click.echo(f"  signed by {keyid}")
    if not keyids:
        click.echo("  not signed: a site will refuse it until `bundle sign` has put a signature beside it")
