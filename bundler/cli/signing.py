"""`bundle keys`, `bundle statement`, `bundle sign`."""

from pathlib import Path

import click

from bundler.cli.options import (
    PATH,
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


@click.group()
def keys() -> None:
    """Make the keys that sign bundles.

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
