"""`bundle site secrets`: what the site has generated for itself, seen by name only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import PATH, F, json_option, passphrase_from
from bundler.errors import Usage

if TYPE_CHECKING:
    from bundler.secrets.unlock import Unlock
    from bundler.secrets.vault import Vault


def secrets_options(command: F) -> F:
    """--secrets, --key-file and --passphrase-file: the values that `unlock_from` and `vault_from` take."""
    for option in (
        click.option("--passphrase-file", type=PATH, metavar="FILE", help="Its passphrase, on the first line of FILE."),
        click.option(
            "--key-file", type=PATH, metavar="FILE", help="The key that opens it.  [SECRETS.key, if it is there]"
        ),
        click.option(
            "--secrets",
            "secrets_file",
            type=PATH,
            default=Path("site.secrets"),
            show_default=True,
            metavar="FILE",
            help="The encrypted file of the site's secrets.",
        ),
    ):
        command = option(command)
    return command


def unlock_from(secrets_file: Path, key_file: Path | None, passphrase_file: Path | None) -> "Unlock":
    """What opens a file: the key or passphrase that is named, the key beside it, or a passphrase from the terminal."""
    from bundler.secrets.unlock import KeyFile, Passphrase
    from bundler.workflows.secrets import key_beside

    if key_file is not None and passphrase_file is not None:
        raise Usage(message="give --key-file or --passphrase-file, one of them")
    beside = key_beside(secrets_file)
    if key_file is None and passphrase_file is None and beside.exists():
        key_file = beside
    if key_file is not None:
        return KeyFile(path=key_file)
    return Passphrase(ask=passphrase_from(passphrase_file, prompt=f"Passphrase of {secrets_file}"))


def vault_from(secrets_file: Path, key_file: Path | None, passphrase_file: Path | None) -> "Vault":
    from bundler.secrets.vault import Vault

    return Vault.open(secrets_file, unlock_from(secrets_file, key_file, passphrase_file))


@click.group()
def secrets() -> None:
    """Keep the site's secrets: passwords, keys, its CA.

    The site makes them itself and keeps them in one encrypted file. No command shows one.
    """


@secrets.command("create")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase on the terminal.")
@secrets_options
def secrets_create(secrets_file: Path, key_file: Path | None, passphrase_file: Path | None, passphrase: bool) -> None:
    """Make the file, empty.

    A key file opens it unless a passphrase is given; it is made where there is none, with mode 0600. Who has both
    files has every secret: keep a copy of each, in different places.

    \b
    Example:
      bundle site secrets create --secrets site.secrets --key-file /root/site.key
    """
    from bundler.workflows.secrets import create_vault, key_beside

    if key_file is None and passphrase_file is None and not passphrase:
        key_file = key_beside(secrets_file)
    unlock = _new_unlock(
        key_file, passphrase_file, ask=passphrase, names="--key-file, --passphrase-file or --passphrase"
    )
    create_vault(secrets_file, unlock)
    click.echo(f"wrote {secrets_file}; {f'{key_file} opens it' if key_file else 'the passphrase opens it'}")


@secrets.command("list")
@secrets_options
@json_option
def secrets_list(secrets_file: Path, key_file: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """List the names of the secrets, and when certificates end.

    \b
    Example:
      bundle site secrets list --key-file /root/site.key
    """
    from bundler.workflows.secrets import list_secrets

    found = list_secrets(vault_from(secrets_file, key_file, passphrase_file))
    if as_json:
        listed = [{"name": each.name, "ends": each.ends and each.ends.isoformat()} for each in found]
        click.echo(json.dumps(listed, indent=2))
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        click.echo(f"{each.name:{width}}  {f'ends {each.ends:%Y-%m-%d}' if each.ends else ''}".rstrip())
    if not found:
        click.echo(f"{secrets_file} holds no secret yet: the first installation makes them", err=True)


@secrets.command("rotate")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All of them, the CA too.")
@secrets_options
def secrets_rotate(
    names: tuple[str, ...], everything: bool, secrets_file: Path, key_file: Path | None, passphrase_file: Path | None
) -> None:
    """Replace secrets by new ones.

    They are taken out of the file; the next `bundle apply` makes new ones and brings them to the hosts, where the old
    ones work until then. `ca` gives the site a new root: hosts trust the old one beside it until
    `bundle site secrets ca --drop-previous`.

    \b
    Example:
      bundle site secrets rotate registry.password
    """
    from bundler.secrets.ca import CA_PREVIOUS
    from bundler.workflows.secrets import rotate

    if bool(names) == everything:
        raise Usage(message="give the NAMEs of secrets, or --all", advice="`bundle site secrets list` shows the names.")
    vault = vault_from(secrets_file, key_file, passphrase_file)
    for name in rotate(vault, names or [name for name in vault.names() if name != CA_PREVIOUS]):
        click.echo(f"{name}: the next `bundle apply` replaces it")


@secrets.command("rekey")
@click.option("--new-key-file", type=PATH, metavar="FILE", help="Open it with this key; made where there is none.")
@click.option("--new-passphrase-file", type=PATH, metavar="FILE", help="Open it with the passphrase in FILE.")
@click.option("--new-passphrase", is_flag=True, help="Ask for a new passphrase on the terminal.")
@secrets_options
def secrets_rekey(
    new_key_file: Path | None,
    new_passphrase_file: Path | None,
    new_passphrase: bool,
    secrets_file: Path,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Change what opens the file; the secrets stay.

    Killed at any point, the file opens in the old way or in the new one. Copies of the old file still open in the old
    way: when a key was seen by others, rotate the secrets too.

    \b
    Example:
      bundle site secrets rekey --key-file old.key --new-key-file new.key
    """
    from bundler.workflows.secrets import rekey

    vault = vault_from(secrets_file, key_file, passphrase_file)
    names = "--new-key-file, --new-passphrase-file or --new-passphrase"
    rekey(vault, _new_unlock(new_key_file, new_passphrase_file, ask=new_passphrase, names=names))
    click.echo(f"{new_key_file or 'the new passphrase'} opens {secrets_file} now, and nothing else does")


@secrets.command("ca")
@click.option("--drop-previous", is_flag=True, help="End the trust in roots that are out of use.")
@secrets_options
def secrets_ca(drop_previous: bool, secrets_file: Path, key_file: Path | None, passphrase_file: Path | None) -> None:
    """Print the certificates of the site's CA.

    For machines that are not hosts of the site: PEM on the standard output, the root in use first, then those before
    it. Each one's SHA-256 fingerprint goes to the standard error.

    \b
    Example:
      bundle site secrets ca --key-file /root/site.key > site-ca.crt
    """
    from bundler.workflows.secrets import drop_previous_roots, trusted_roots

    vault = vault_from(secrets_file, key_file, passphrase_file)
    roots = trusted_roots(vault)
    if drop_previous:
        dropped = drop_previous_roots(vault)
        click.echo("the next `bundle apply` ends their trust" if dropped else "there are none", err=True)
        return
    for root in roots:
        click.echo(root.certificate, nl=False)
        click.echo(f"SHA-256 {root.fingerprint}, ends {root.ends:%Y-%m-%d}", err=True)


def _new_unlock(key_file: Path | None, passphrase_file: Path | None, *, ask: bool, names: str) -> "Unlock":
    """What is to open a file from now on; `names` are the options, of which one has to be given."""
    from bundler.secrets.unlock import Passphrase
    from bundler.workflows.secrets import ensure_key

    if [key_file is not None, passphrase_file is not None, ask].count(True) != 1:
        raise Usage(message=f"give {names}, one of them")
    if key_file is not None:
        return ensure_key(key_file)
    given: Callable[[], bytes | None] = passphrase_from(passphrase_file, prompt="New passphrase", confirm=True)
    return Passphrase(ask=given)
