"""`bundle install` and `bundle serve`, and `bundle receive` for programs."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.deploy import apply_options, deploy
from bundler.cli.options import (
    PATH,
    STDIN,
    check_reason,
    disk_option,
    json_option,
    quiet_option,
    threshold_option,
    trust_option,
)
from bundler.cli.progress import human, progress_of
from bundler.errors import Malformed, Usage

if TYPE_CHECKING:
    from bundler.errors import SliceMissing
    from bundler.workflows.install import Installed


@click.command()
@click.argument("file", type=PATH)
@trust_option
@threshold_option(None)
@click.option("--root", type=PATH, metavar="DIR", help="Only a folder on this machine; made if it is not there.")
@click.option("--site", "site_file", type=PATH, metavar="FILE", help="All hosts of this site.yaml.")
@click.option("--allow-downgrade", is_flag=True, help="Take a release older than one seen (--root only); say why.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the site's history.")
@disk_option
@apply_options
@json_option
@quiet_option
def install(
    file: Path,
    trust: tuple[Path, ...],
    threshold: int | None,
    root: Path | None,
    site_file: Path | None,
    allow_downgrade: bool,
    reason: str,
    disks: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Bring a site to the release of a bundle.

    With --site, all its hosts: the store, registry, repositories and names, and every host's own settings. The plan is
    shown and asked about first; `bundle apply` explains the rest.

    With --root, a store and its views in one folder of this machine, for `bundle serve`; no root is needed, and the
    options about hosts mean nothing.

    Signatures first; every blob is hashed on its way into the store, once on the disk; the repositories are made and
    switched to in one step. The first installation pins the trusted keys and the threshold. Killed at any point, the
    same command goes on.

    A release older than one that the site has seen is refused. `bundle rollback` returns to one that the site keeps;
    --allow-downgrade --reason TEXT takes one from a bundle, and the site remembers why.
    Of volumes, FILE is NAME.volumes.json, one of the slices or their folder; with --root their disks may be put in one
    after the other: on a terminal the next one is asked for. With --root, `-` is a bundle, or its slices in their
    order, on standard input.

    \b
    Example:
      bundle install site.bundle --trust release.pub --site site.yaml
      bundle install site.bundle --trust release.pub --root /srv/site
      bundle install /media/a/site.bundle.001 --disk /media/b --trust release.pub --root /srv/site
      ssh site bundle install - --root /srv/site < site.bundle
    """
    downgrade = _downgrade(allow_downgrade, reason)
    if site_file is not None and root is None and (disks or file == STDIN):
        raise Usage(message="--disk and `-` go with --root", advice="With --site, have all slices in one folder.")
    if site_file is not None and root is None and not downgrade:
        deploy(file, site_file, trust=trust, threshold=threshold, as_json=as_json, quiet=quiet, **given)
    elif root is not None and site_file is None:
        jobs = given["jobs"]
        _install_root(file, root, trust, threshold, disks, jobs=jobs, downgrade=downgrade, as_json=as_json, quiet=quiet)
    else:
        advice = "--allow-downgrade goes with --root." if downgrade else ""
        raise Usage(message="give --site site.yaml, or --root DIR for a folder of this machine", advice=advice)


def _downgrade(allowed: bool, reason: str) -> str:
    """Why an older release is taken, or nothing. Raises Usage."""
    reason = check_reason(reason)
    if allowed != bool(reason):
        raise Usage(message="--allow-downgrade and --reason TEXT go together")
    return reason


def _install_root(
    file: Path,
    root: Path,
    trust: Sequence[Path],
    threshold: int | None,
    disks: Sequence[Path],
    *,
    jobs: int | None,
    downgrade: str,
    as_json: bool,
    quiet: bool,
) -> None:
    from bundler.signing.keys import read_public_key
    from bundler.support.parallel import cores
    from bundler.workflows.arrive import install_any, install_stream

    keys = [read_public_key(path) for path in trust]
    with progress_of("install", quiet=quiet) as progress:
        if file == STDIN:
            done = install_stream(0, root, keys=keys, threshold=threshold, progress=progress, downgrade=downgrade)
        else:
            done = install_any(
                file,
                root,
                keys=keys,
                threshold=threshold,
                jobs=jobs or 2 * cores(),
                progress=progress,
                folders=disks,
                ask=ask_for_disk,
                downgrade=downgrade,
            )
    if as_json:
        click.echo(json.dumps(_facts(done), indent=2))
        return
    if not done.changed:
        click.echo(f"{root} has release {done.statement.release} in use already: nothing to do")
        return
    click.echo(f"{root} now uses release {done.statement.release}: {human(done.new)} were new to its store")
    for keyid in done.signed:
        click.echo(f"  signed by {keyid}, trusted")
    click.echo(f"  serve it with:  bundle serve --root {root} --listen 0.0.0.0:8080")


def ask_for_disk(missing: "SliceMissing") -> bool:
    """On a terminal, ask for the disk with a slice; elsewhere nobody can be asked."""
    if not (os.isatty(0) and os.isatty(2)):
        return False
    (name, _), *_ = missing.missing
    where = " or ".join(missing.folders)
    click.echo(f"\nPut in the disk with {name}, at {where}, and press Enter; Ctrl-C ends", err=True)
    return bool(sys.stdin.readline())


def _facts(done: "Installed") -> dict[str, object]:
    return {
        "root": str(done.root),
        "generation": str(done.folder),
        "release": {"line": done.statement.release.line, "number": done.statement.release.number},
        "content": str(done.statement.content),
        "new": done.new,
        "changed": done.changed,
        "signed": list(done.signed),
    }


@click.command(hidden=True)
@trust_option
@threshold_option(None)
@click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's folder; made if it is not there.")
@click.option("--missing", is_flag=True, help="Only say what the site lacks of the bundle whose front comes in.")
@click.option("--state", is_flag=True, help="Only say what the site uses; nothing is read from standard input.")
@click.option("--anew", is_flag=True, help="Make the views of the release in use again, from the store alone.")
@quiet_option
def receive(
    trust: tuple[Path, ...], threshold: int | None, root: Path, missing: bool, state: bool, anew: bool, quiet: bool
) -> None:
    """Fill a site's store from a stream on standard input, as `install` does from a file.

    For programs: another machine that has the bundle file sends only what is missing here, over ssh for one. Everything
    is proved here. Cut off at any point, the same again goes on. Prints JSON.
    """
    from bundler.signing.keys import read_public_key
    from bundler.workflows import receive as workflow

    if missing + state + anew > 1:
        raise Usage(message="--missing, --state and --anew exclude each other")
    if state:
        click.echo(json.dumps(workflow.in_use(root)))
        return
    if anew:
        click.echo(json.dumps(_facts(workflow.rebuild(root))))
        return
    keys = [read_public_key(path) for path in trust]
    if missing:
        click.echo(json.dumps(workflow.ask_missing(0, root, keys=keys, threshold=threshold)))
        return
    with progress_of("receive", quiet=quiet) as progress:
        done = workflow.receive(0, root, keys=keys, threshold=threshold, progress=progress)
    click.echo(json.dumps(_facts(done)))


@click.command()
@click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's folder.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Port 0: any.")
@click.option("--tls-cert", type=PATH, default=None, help="The certificate chain (PEM), for https.")
@click.option("--tls-key", type=PATH, default=None, help="Its private key (PEM).")
@quiet_option
def serve(root: Path, listen: str, tls_cert: Path | None, tls_key: Path | None, quiet: bool) -> None:
    """Serve an installed site: PyPI, apt, container images, Helm charts, files.

    For bootstrap, demonstrations and tests. A new release that `install` switches to is served at once. The front page
    at / shows how clients are set up.

    \b
    Example:
      bundle serve --root /srv/site --listen 0.0.0.0:8080
    """
    from bundler.site.server import Server

    if (tls_cert is None) != (tls_key is None):
        raise Usage(message="--tls-cert and --tls-key go together")
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    host, port = _address(listen)
    log = (lambda line: None) if quiet else (lambda line: click.echo(line, err=True))
    server = Server(root, listen=(host, port), log=log, tls=tls)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"serving {root} at {'https' if tls else 'http'}://{shown}:{server.port}/")
    server.serve()


def _address(text: str) -> tuple[str, int]:
    """HOST:PORT, with brackets around an IPv6 host. Raises Malformed."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 0xFFFF:
        raise Malformed(found=repr(text[:80]), expected="HOST:PORT, such as 0.0.0.0:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)
