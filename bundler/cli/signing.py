"""`bundle keys`, `bundle statement`, `bundle sign`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import (
    PATH,
    check_reason,
    jobs_option,
    passphrase_from,
    passphrase_option,
    places_of,
    quiet_option,
    signing_key,
    upstream_option,
)
from bundler.cli.progress import progress_of
from bundler.errors import Usage

if TYPE_CHECKING:
    from bundler.model.renewal import Renewal


@click.group()
def keys() -> None:
    """Make the keys that sign bundles; replace and revoke them.

    The private key stays with whoever releases; the public key goes to every site, on another way than the bundles.
    """


@keys.command("create")
@click.argument("name", type=PATH)
@passphrase_option
def keys_create(name: Path, passphrase_file: Path | None) -> None:
    """Make NAME.key (private, 0600) and NAME.pub (public).

    On a terminal a passphrase is asked for, and the private key is encrypted with it.

    \b
    Example:
      bundle keys create release
    """
    from bundler.workflows.sign import create_keys

    ask = passphrase_from(passphrase_file, prompt="Passphrase (empty for none)", confirm=True)
    passphrase = ask()
    public = create_keys(name, passphrase=passphrase)
    click.echo(f"wrote {name}.key and {name}.pub")
    click.echo(f"  {public.keyid}")
    if passphrase is None:
        click.echo(f"note: {name}.key is not encrypted: whoever reads it can sign (--passphrase-file)", err=True)


_KEYS = click.option(
    "--key", "signing", type=PATH, multiple=True, metavar="NAME.key", help="Sign with it; may be repeated."
)
_OUT = click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The statement to write.")
_WHY = click.option("--reason", default="", metavar="TEXT", help="Why, for every site's history.")


@keys.command("rotate")
@click.option(
    "--to", "after", type=PATH, multiple=True, required=True, metavar="NAME.pub", help="Trusted then; repeat for each."
)
@click.option("--threshold", type=click.IntRange(1, 16), default=1, show_default=True, help="How many must sign then.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    default=None,
    metavar="DATE",
    help="Sites take no new release by these keys after that day (UTC).",
)
@_KEYS
@_OUT
@_WHY
@passphrase_option
def keys_rotate(
    after: tuple[Path, ...],
    threshold: int,
    expires: datetime | None,
    signing: tuple[Path, ...],
    output: Path,
    reason: str,
    passphrase_file: Path | None,
) -> None:
    """Make the statement that other keys are trusted from now on.

    It names all keys that are to be trusted then, and has to be signed by as many of those trusted now as the sites'
    threshold says: with --key here, with `bundle keys sign`, or with openssl. Take it and the .sig files beside it to
    every site, for `bundle trust apply`. Keys that it leaves out sign nothing new; what they signed before stays good.

    \b
    Example:
      bundle keys rotate --to alice.pub --to bob.pub --threshold 2 --key old.key -o rotation.json
    """
    from bundler.model.renewal import Rotation
    from bundler.signing.keys import read_public_key
    from bundler.support import clock

    rotation = Rotation(
        issued=clock.now().replace(microsecond=0),
        keys=tuple(read_public_key(path).raw for path in after),
        threshold=threshold,
        expires=None if expires is None else expires.replace(hour=23, minute=59, second=59, tzinfo=UTC),
        reason=check_reason(reason),
    )
    _write_renewal(output, rotation, signing, passphrase_file)


@keys.command("revoke")
@click.argument("public", type=PATH, metavar="NAME.pub")
@_KEYS
@_OUT
@_WHY
@passphrase_option
def keys_revoke(
    public: Path, signing: tuple[Path, ...], output: Path, reason: str, passphrase_file: Path | None
) -> None:
    """Make the statement that a key counts for nothing any more.

    Somebody else may have it: no signature of it counts from then on, no rotation brings it back, and no site returns
    to a release that only it vouched for. It has to be signed like a rotation. Where too few keys would be left, rotate
    first.

    \b
    Example:
      bundle keys revoke bob.pub --reason "laptop stolen" --key alice.key -o revocation.json
    """
    from bundler.model.renewal import Revocation
    from bundler.signing.keys import read_public_key
    from bundler.support import clock

    revocation = Revocation(
        issued=clock.now().replace(microsecond=0), key=read_public_key(public).raw, reason=check_reason(reason)
    )
    _write_renewal(output, revocation, signing, passphrase_file)


@keys.command("sign")
@click.argument("file", type=PATH)
@click.option("--key", type=PATH, required=True, metavar="NAME.key", help="Sign with it.")
@passphrase_option
def keys_sign(file: Path, key: Path, passphrase_file: Path | None) -> None:
    """Sign a rotation or revocation that somebody else made.

    \b
    Example:
      bundle keys sign rotation.json --key second.key
    """
    from bundler.workflows.renew import sign_statement_of_keys

    click.echo(f"wrote {sign_statement_of_keys(file, signing_key(key, passphrase_file))}")


def _write_renewal(out: Path, renewal: "Renewal", signing: tuple[Path, ...], passphrase_file: Path | None) -> None:
    from bundler.workflows.renew import write_statement_of_keys

    signers = [signing_key(path, passphrase_file) for path in signing]
    beside = write_statement_of_keys(out, renewal, signers)
    for path in (out, *beside):
        click.echo(f"wrote {path}")
    if not beside:
        click.echo("note: not signed yet: `bundle keys sign`, or openssl as docs/trust.md says", err=True)


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option("--lock", "lock_path", type=PATH, default=None, help="Of the bundle that this lock would make.")
@click.option("--signer", "signers", type=PATH, multiple=True, metavar="NAME.pub", help="A key to sign with later.")
@click.option("-o", "--output", type=PATH, default=None, help="Write there instead of to stdout.")
@upstream_option
@jobs_option
@quiet_option
def statement(
    file: Path | None,
    lock_path: Path | None,
    signers: tuple[Path, ...],
    output: Path | None,
    upstreams: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
) -> None:
    """Print the exact bytes that a signature covers.

    Of a bundle FILE, or of the bundle that a lock would make. Take them to another machine or an HSM, sign them with
    raw Ed25519, and bring the 64 bytes back for `bundle sign --attach`.

    \b
    Example:
      bundle statement site.bundle -o site.statement
      openssl pkeyutl -sign -inkey release.key -rawin -in site.statement -out site.sig
      bundle sign site.bundle --attach site.sig --pub release.pub
    """
    from bundler.signing.keys import read_public_key
    from bundler.support.files import write_file
    from bundler.workflows.sign import statement_of_bundle, statement_of_lock

    if file is not None and lock_path is None:
        data = statement_of_bundle(file)
    elif lock_path is not None and file is None:
        places = places_of(upstreams=upstreams)
        public = [read_public_key(path) for path in signers]
        with progress_of("statement", quiet=quiet) as progress:
            data = statement_of_lock(lock_path, signers=public, places=places, jobs=jobs or 2, progress=progress)
    else:
        raise Usage(message="give a bundle FILE or --lock, one of them")
    if output is None:
        click.echo(data, nl=False)
    else:
        write_file(output, data)
        click.echo(f"wrote {output}: {len(data)} bytes", err=True)


@click.command()
@click.argument("file", type=PATH)
@click.option("--key", type=PATH, default=None, metavar="NAME.key", help="Sign with this key.")
@click.option("--attach", type=PATH, default=None, metavar="SIG", help="A raw 64-byte signature made elsewhere.")
@click.option("--pub", type=PATH, default=None, metavar="NAME.pub", help="The key that made SIG.")
@passphrase_option
def sign(file: Path, key: Path | None, attach: Path | None, pub: Path | None, passphrase_file: Path | None) -> None:
    """Add a signature beside a bundle, as FILE.<keyid>.sig.

    The bundle itself is not touched. Both kinds of signatures, inside and beside, count towards a threshold; the file
    has to travel with the bundle.

    \b
    Example:
      bundle sign site.bundle --key second.key
    """
    from bundler.signing.keys import read_public_key
    from bundler.workflows.sign import attach as attach_signature
    from bundler.workflows.sign import sign as run

    if key is not None and attach is None and pub is None:
        made = run(file, signing_key(key, passphrase_file))
    elif attach is not None and pub is not None and key is None:
        made = (attach_signature(file, read_public_key(pub), attach),)
    else:
        raise Usage(message="give --key NAME.key, or --attach SIG with --pub NAME.pub")
    for beside in made:
        click.echo(f"wrote {beside}")
