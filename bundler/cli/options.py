"""Options that several commands share, and how their values are read."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bundler.errors import BundleError, Malformed, Usage
from bundler.support.files import read_file

if TYPE_CHECKING:
    from bundler.signing.keys import SigningKey
    from bundler.workflows.places import Places

F = TypeVar("F", bound=Callable[..., Any])


class _FileName(click.Path):
    """A path whose name the system can have at all; all else our own errors say better than click's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            self.fail("no file can have this name", param, ctx)
        return super().convert(value, param, ctx)


PATH = _FileName(path_type=Path, readable=False)
STDIN = Path("-")

jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=None,
    metavar="N",
    help="Work on this many artifacts at once.",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no notes.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
trust_option = click.option(
    "--trust", "trust", type=PATH, multiple=True, metavar="NAME.pub", help="A key to trust; may be given several times."
)
disk_option = click.option(
    "--disk",
    "disks",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="Slices of volumes may lie in this folder too; may be repeated.",
)
passphrase_option = click.option(
    "--passphrase-file", type=PATH, metavar="FILE", help="Read the key's passphrase from the first line of FILE."
)
upstream_option = click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="HOST=URL",
    envvar="BUNDLE_UPSTREAM",
    help="Take the bytes of a registry (docker.io=URL), index (pypi=URL) or archive (debian=URL) from there. "
    "The lock does not change. A registry gets the credentials of the URL's host, not those of the name. "
    "Several are separated by spaces in BUNDLE_UPSTREAM.",
)
mirror_option = click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="HOST=URL",
    envvar="BUNDLE_MIRROR",
    help="Ask this mirror of a registry first for what a digest names, then the next one, at last the registry or its "
    "upstream. Tags are the registry's to resolve: mirrors are asked for them only when it does not answer. May be "
    "repeated, also for one HOST; separated by spaces in BUNDLE_MIRROR.",
)
manifests_option = click.option(
    "--manifests",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="A folder with profiles/, components/, files/ and charts/, searched before the tool's own catalog; may be "
    "repeated, the first that has a name wins.  [manifests]",
)
realm_option = click.option(
    "--realm",
    "realms",
    multiple=True,
    metavar="HOST=URL",
    help="Let the credentials of a registry go to this authentication server.",
)


def names_of(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes the names of manifests: `components`, `profiles`."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from bundler.catalog.manifests import Manifests

        try:
            found = Manifests.of(ctx.params.get("manifests") or ())
        except BundleError:
            return []
        return [name for kind in kinds for name in found.names(kind) if name.startswith(incomplete)]

    return complete


def volume_sizes(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Completes the sizes of volumes that have a name."""
    from bundler.model.volumes import SIZES

    return [name for name in SIZES if name.startswith(incomplete)]


def threshold_option(default: int | None) -> Callable[[F], F]:
    return click.option(
        "--threshold",
        type=click.IntRange(1, 16),
        default=default,
        metavar="N",
        help="How many of the trusted keys must have signed.  [1]",
    )


def places_of(
    *,
    manifests: Sequence[Path] = (),
    upstreams: Sequence[str] = (),
    mirrors: Sequence[str] = (),
    realms: Sequence[str] = (),
    reuse: Sequence[Path] = (),
) -> "Places":
    """Where bytes come from, by the options of a command. Raises Malformed, NotReadable."""
    from bundler.catalog.manifests import Manifests
    from bundler.transport import Upstreams
    from bundler.workflows.places import Places

    return Places(
        manifests=Manifests.of(manifests),
        upstreams=Upstreams.parse(upstreams, mirrors),
        realms=pairs(realms, "--realm"),
        reuse=reuse,
    )


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """HOST=URL values. Raises Malformed."""
    found = {}
    for value in values:
        host, equals, url = value.partition("=")
        if not (host and equals and url):
            raise Malformed(found=repr(value[:80]), expected=f"HOST=URL for {option}")
        found[host] = url
    return found


def signing_key(path: Path, passphrase_file: Path | None) -> "SigningKey":
    """A private key; one that other users can read is used, and said to be."""
    from bundler.signing.keys import read_signing_key

    key = read_signing_key(path, passphrase_from(passphrase_file, prompt=f"Passphrase of {path}"))
    if path.stat().st_mode & 0o077:
        click.echo(f"note: {path} can be read by others; `chmod 600 {path}` ends that", err=True)
    return key


passphrases_option = click.option(
    "--passphrase-file",
    "passphrase_files",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="The passphrase of the keys, on its first line: one FILE for all, or one for each --key in turn.",
)


def signing_keys(paths: Sequence[Path], files: tuple[Path, ...]) -> list["SigningKey"]:
    """The keys, by one passphrase's file for all, or one each. Raises Usage."""
    if len(files) not in (0, 1, len(paths)):
        raise Usage(message=f"{len(files)} passphrase files for {len(paths)} keys", advice="One, or one each.")
    secrets = files if len(files) == len(paths) else (files or (None,)) * len(paths)
    return [signing_key(path, secret) for path, secret in zip(paths, secrets, strict=True)]


def passphrase_from(file: Path | None, *, prompt: str, confirm: bool = False) -> Callable[[], bytes | None]:
    """How to get a passphrase: from the file, or on a terminal by asking; None where there is neither."""

    def ask() -> bytes | None:
        if file is not None:
            lines = read_file(file, limit=4096).splitlines()
            if not lines or not lines[0]:
                raise Usage(message=f"{file} has no passphrase on its first line")
            return lines[0]
        if not os.isatty(0):
            return None
        answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, default="", show_default=False)
        return answer.encode() or None

    return ask


def check_reason(text: str) -> str:
    """One line of words for a site's history. Raises Usage."""
    from bundler.model.renewal import check_reason as check

    try:
        return check(text.strip())
    except Malformed as error:
        raise Usage(message=f"--reason: found {error.found}, expected {error.expected}") from None
