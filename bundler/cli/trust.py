"""`bundle trust`: whom a site trusts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.generations import root_option
from bundler.cli.options import PATH, json_option
from bundler.cli.wholesite import apply_trust as everywhere
from bundler.cli.wholesite import place_of, where_options

if TYPE_CHECKING:
    from bundler.signing.trust import Trust


@click.group()
def trust() -> None:
    """Show whom a site trusts; take over a rotation or revocation.

    The first installation pins the keys. From then on only a statement that enough of them signed changes that.
    """


@trust.command("show")
@root_option
@json_option
def trust_show(root: Path, as_json: bool) -> None:
    """Show the keys that a site trusts, those it trusted once, and those that are revoked.

    \b
    Example:
      bundle trust show --root /srv/site
    """
    from bundler.support import clock
    from bundler.workflows.renew import trusting

    state, found = trusting(root)
    now = state.time(clock.now())
    if as_json:
        click.echo(json.dumps({**_facts(found), "now": f"{now:%Y-%m-%dT%H:%M:%SZ}"}, indent=2))
        return
    _show(found)
    click.echo(f"the site's own time: {now:%Y-%m-%d %H:%M:%S} UTC")


@trust.command("apply")
@click.argument("file", type=PATH)
@where_options
@click.option("-n", "--dry-run", is_flag=True, help="Judge it and show what would be trusted; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the hosts of a site are changed.")
@json_option
def trust_apply(
    file: Path,
    root: Path | None,
    site_file: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Take over a rotation or revocation, if enough of the keys trusted now have signed it.

    Its signatures lie beside it, as FILE.<keyid>.sig. What is installed goes on being served. A rotation older than the
    last one that was applied is refused. Applied twice, it counts once.

    With --site all site hosts take it over, if none would refuse it, and so does the folder beside site.yaml by which
    later bundles are judged.

    \b
    Example:
      bundle trust apply rotation.json --root /srv/site --dry-run
      bundle trust apply rotation.json --root /srv/site
      bundle trust apply rotation.json --site site.yaml
    """
    from bundler.workflows.renew import apply

    root = place_of(root, site_file)
    if root is None:
        assert site_file is not None
        everywhere(file, site_file, dry_run=dry_run, yes=yes, as_json=as_json, show=_show, **given)
        return
    done = apply(file, root, dry_run=dry_run)
    if as_json:
        facts = {**_facts(done.trust), "signed": list(done.signed), "changed": done.changed and not dry_run}
        click.echo(json.dumps(facts, indent=2))
        return
    if not done.changed:
        click.echo(f"{root} has applied {file} already: nothing to do")
        return
    click.echo(f"{file} is signed by {', '.join(done.signed)}")
    _show(done.trust)


def _show(found: "Trust") -> None:
    click.echo(f"trusted, {found.threshold} of them must sign:")
    for key in found.keys:
        click.echo(f"  {key.keyid}")
    for words, keys in (("trusted once", found.retired), ("revoked", found.revoked)):
        if keys:
            click.echo(f"{words}:")
        for key in keys:
            click.echo(f"  {key.keyid}")
    if found.expires:
        click.echo(f"new releases are taken until {found.expires:%Y-%m-%d %H:%M:%S} UTC")


def _facts(found: "Trust") -> dict[str, Any]:
    return {
        "keys": [key.keyid for key in found.keys],
        "threshold": found.threshold,
        "retired": [key.keyid for key in found.retired],
        "revoked": [key.keyid for key in found.revoked],
        "expires": f"{found.expires:%Y-%m-%dT%H:%M:%SZ}" if found.expires else None,
    }
