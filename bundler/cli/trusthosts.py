"""`bundle site trust-hosts`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import PATH
from bundler.errors import Malformed, Usage

if TYPE_CHECKING:
    from bundler.workflows.trust_hosts import Seen


@click.command("trust-hosts")
@click.argument("file", type=PATH, default=Path("site.yaml"))
@click.option("--yes", is_flag=True, help="Trust every new key unseen: for a network that nobody else is on.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="HOST=SHA256:...",
    help="Trust this key, and no other, of HOST; may be repeated.",
)
@click.option("--replace", "replaced", multiple=True, metavar="HOST", help="HOST was installed anew: take its new key.")
def trust_hosts(file: Path, yes: bool, fingerprints: tuple[str, ...], replaced: tuple[str, ...]) -> None:
    """Get to know the host keys of a site.

    Every host is asked for its key. The fingerprints are shown, to be compared with what the hosts' consoles show
    (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), and kept when you agree. A key that has changed is refused
    unless --replace names its host.

    \b
    Example:
      bundle site trust-hosts site.yaml
      bundle site trust-hosts site.yaml --fingerprint node2=SHA256:7KgzVMk1FzQ1PzTX...
    """
    from bundler.workflows.site import check_site
    from bundler.workflows.trust_hosts import Standing, Wish
    from bundler.workflows.trust_hosts import trust_hosts as run

    expected = _fingerprints(fingerprints)

    def agree(seen: Sequence["Seen"]) -> bool:
        _show(seen)
        if yes or all(each.host.name in expected for each in seen):
            return True
        if not os.isatty(0):
            advice = "Run it on a terminal, or give the fingerprints (--fingerprint), or --yes."
            raise Usage(message="nobody can be asked whether these keys are right", advice=advice)
        return click.confirm("Are these the hosts' own keys?", default=False)

    site = check_site(file)
    wish = Wish(replace=frozenset(replaced), expected=expected)
    found = run(site, file.with_name(f"{file.stem}.state"), wish, agree)
    _show([each for each in found if each.standing in (Standing.KNOWN, Standing.CHANGED, Standing.UNREACHABLE)])
    trusted = sum(each.standing in (Standing.KNOWN, Standing.TRUSTED) for each in found)
    click.echo(f"{trusted} of {len(found)} host{'s' if len(found) != 1 else ''} can be trusted")
    for each in found:
        if each.error is not None:
            raise each.error


def _show(seen: Sequence["Seen"]) -> None:
    width = max((len(each.host.name) for each in seen), default=0)
    for each in seen:
        kind = each.key.partition(" ")[0]
        line = f"{each.host.name:{width}}  {each.standing.value:11}  {each.host.address}  {kind} {each.fingerprint}"
        click.echo(line.rstrip())
        if each.before and each.fingerprint not in each.before:
            click.echo(f"{'':{width}}  known so far: {', '.join(each.before)}")
        elif each.error is not None and not each.key:
            click.echo(f"{'':{width}}  {each.error.summary}")


def _fingerprints(values: Sequence[str]) -> dict[str, str]:
    found = {}
    for value in values:
        host, equals, fingerprint = value.partition("=")
        if not equals or not fingerprint.startswith("SHA256:"):
            raise Malformed(found=repr(value[:80]), expected="HOST=SHA256:… for --fingerprint")
        found[host] = fingerprint
    return found
