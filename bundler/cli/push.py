"""`bundle push`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import (
    PATH,
    jobs_option,
    json_option,
    pairs,
    quiet_option,
    realm_option,
    threshold_option,
    trust_option,
)
from bundler.cli.progress import human, progress_of
from bundler.errors import Usage
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.workflows.push import Pushed


@click.command()
@click.argument("file", type=PATH)
@click.argument("registry", metavar="REGISTRY[/PREFIX]")
@trust_option
@threshold_option(1)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Push only this artifact, as `bundle inspect` names it; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be pushed; change nothing.")
@click.option(
    "--sparse-index",
    type=click.Choice(["keep", "platform"]),
    default="keep",
    show_default=True,
    help="What to push of a multi-platform image of which one platform is carried. keep: its index as it is, which "
    "some registries refuse. platform: the carried platform under the tag; the index's digest will not resolve.",
)
@realm_option
@jobs_option
@json_option
@quiet_option
def push(
    file: Path,
    registry: str,
    trust: tuple[Path, ...],
    threshold: int,
    only: tuple[str, ...],
    dry_run: bool,
    sparse_index: str,
    realms: tuple[str, ...],
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Push a bundle to a registry that the site has already.

    Signatures first; then the registry is asked what it lacks, and gets that: images under PREFIX/<host>/<path>, all
    else under PREFIX/bundle/<kind>. Nothing is unpacked. Killed at any point, the same command goes on. Credentials
    come from `docker login` or `skopeo login`, a private authority from SSL_CERT_FILE. http:// before REGISTRY is for
    one without TLS.

    \b
    Example:
      bundle push site.bundle harbor.example/platform --trust release.pub --dry-run
      bundle push site.bundle harbor.example/platform --trust release.pub
    """
    from bundler.push.target import Target
    from bundler.signing.keys import read_public_key
    from bundler.support.parallel import cores
    from bundler.workflows.push import push as run

    if not trust:
        raise Usage(message="give at least one --trust NAME.pub", advice="Nothing is pushed unproved.")
    keys = [read_public_key(path) for path in trust]
    with progress_of("push", quiet=quiet) as progress:
        done = run(
            file,
            Target.parse(registry),
            keys=keys,
            threshold=threshold,
            only=only,
            only_platform=sparse_index == "platform",
            dry_run=dry_run,
            realms=pairs(realms, "--realm"),
            jobs=jobs or 2 * cores(),
            progress=progress,
        )
    click.echo(json.dumps(_facts(done, dry_run=dry_run), indent=2) if as_json else _text(done, dry_run=dry_run))
    if done.error is not None:
        raise done.error


def _facts(done: "Pushed", *, dry_run: bool) -> dict[str, object]:
    return {
        "registry": str(done.target),
        "release": {"line": done.statement.release.line, "number": done.statement.release.number},
        "content": str(done.statement.content),
        "signed": list(done.signed),
        "dry_run": dry_run,
        "changed": done.changed and not dry_run,
        "artifacts": done.artifacts,
        "blobs": done.done.blobs,
        "bytes": done.done.size,
        "mounted": done.done.mounted,
        "manifests": done.done.manifests,
        "tags": done.done.tags,
        "moved": list(done.moved),
        "unresolved": list(done.unresolved),
        "refused": dict(sorted(done.done.refused.items())),
        "failed": {name: str(error) for name, error in sorted(done.done.failed.items())},
    }


def _text(done: "Pushed", *, dry_run: bool) -> str:
    sent = done.done
    what = f"{counted(done.artifacts, 'artifact')} of release {done.statement.release}"
    unresolved = [f"  will not resolve: {each}" for each in done.unresolved]
    if not done.changed and done.error is None:
        return "\n".join([f"{done.target} has {what} already: nothing to push", *unresolved])
    parts = (
        f"{counted(sent.blobs, 'blob')} ({human(sent.size)})",
        f"{sent.mounted} taken over from other repositories",
        counted(sent.manifests, "manifest"),
        counted(sent.tags, "tag"),
    )
    moves, pushes = ("would move", "would push") if dry_run else ("moved", "pushed")
    lines = [f"{pushes} to {done.target}: {', '.join(parts)}; {what}"]
    lines += [f"  signed by {keyid}, trusted" for keyid in done.signed]
    lines += [f"  {moves} the tag {each}" for each in done.moved]
    return "\n".join([*lines, *unresolved])
