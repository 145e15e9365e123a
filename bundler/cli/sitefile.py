"""`bundle site`: what concerns site.yaml."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.options import PATH, json_option
from bundler.cli.secrets import secrets
from bundler.cli.trusthosts import trust_hosts
from bundler.errors import InvalidDocument

if TYPE_CHECKING:
    from bundler.model.site import Site, SiteHost


@click.group()
def site() -> None:
    """Write and check site.yaml: the hosts, networks and addresses of a site."""


site.add_command(secrets)
site.add_command(trust_hosts)


@site.command()
@click.option(
    "-o", "--output", type=PATH, default=Path("site.yaml"), show_default=True, metavar="FILE", help="What to write."
)
@click.option(
    "--hosts", default="", metavar="NAME=ADDRESS,...", help="The hosts; the first gets the role site.  [three examples]"
)
def init(output: Path, hosts: str) -> None:
    """Write a first site.yaml that explains itself.

    A file that exists is left alone.

    \b
    Example:
      bundle site init
      bundle site init -o paris.yaml --hosts node1=10.0.0.1,node2=10.0.0.2
    """
    from bundler.workflows.site import init_site, parse_hosts

    init_site(output, parse_hosts(hosts) if hosts else ())
    name = click.format_filename(output)
    click.echo(f"{name} is written; edit it, then:  bundle site check {name}")


@site.command()
@click.argument("file", type=PATH, default=Path("site.yaml"))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check site.yaml without touching a host.

    All problems at once, each with its line; with --json they are on stdout too. Without FILE it is ./site.yaml.

    \b
    Example:
      bundle site check
      bundle site check paris.yaml --json | jq -r '.problems[] | "\\(.line): \\(.found)"'
    """
    from bundler.workflows.site import check_site

    try:
        found = check_site(file)
    except InvalidDocument as error:
        if as_json:
            problems = [{"line": each.line, "found": each.found, "expected": each.expected} for each in error.problems]
            click.echo(json.dumps({"file": str(file), "ok": False, "problems": problems}, indent=2))
        raise
    if as_json:
        click.echo(json.dumps({"file": str(file), "ok": True, "problems": [], **_facts(found)}, indent=2))
        return
    click.echo(
        f"{click.format_filename(file)}: the site {found.name} ({found.domain}) is well formed; no host was asked"
    )
    rows = [(host.name, str(host.address), ", ".join(host.roles) or "-", _reached(host)) for host in found.hosts]
    rows.insert(0, ("HOST", "ADDRESS", "ROLES", "REACHED"))
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for row in rows:
        click.echo("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])))
    keyless = [host.name for host in found.hosts if not host.host_key and not host.local]
    if keyless:
        names = ", ".join((*keyless[:5], *(("...",) if len(keyless) > 5 else ())))
        click.echo(f"note: no host_key for {names}; `bundle site trust-hosts` gets to know them", err=True)


@site.command()
def schema() -> None:
    """Print the JSON schema of site.yaml, for editors.

    \b
    Example:
      bundle site schema > site.schema.json
      # yaml-language-server: $schema=site.schema.json    (the first line of site.yaml)
    """
    from bundler.workflows.site import schema as run

    click.echo(json.dumps(run(), indent=2, ensure_ascii=False))


def _reached(host: "SiteHost") -> str:
    if host.local:
        return "local"
    port = "" if host.port == 22 else f", port {host.port}"
    return f"ssh {host.user}{port}{', sudo' if host.become else ''}{f', through {host.jump}' if host.jump else ''}"


def _facts(site: "Site") -> dict[str, Any]:
    return {
        "site": site.name,
        "domain": site.domain,
        "hosts": [
            {
                "name": host.name,
                "address": str(host.address),
                "roles": list(host.roles),
                "local": host.local,
                "host_key": bool(host.host_key),
            }
            for host in site.hosts
        ],
        "networks": [{"name": network.name, "subnet": str(network.subnet)} for network in site.networks],
        "vips": {name: str(address) for name, address in site.vips.items()},
        "components": sorted(site.settings),
    }
