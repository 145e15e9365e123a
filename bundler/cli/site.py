"""`bundle install` and `bundle serve`."""

import json
import signal
from pathlib import Path

import click

from bundler.cli.options import PATH, jobs_option, json_option, quiet_option, threshold_option, trust_option
from bundler.cli.progress import human, progress_of
from bundler.errors import Malformed, Usage


@click.command()
@click.argument("file", type=PATH)
@trust_option
@threshold_option(None)
@click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's folder; made if it is not there.")
@jobs_option
@json_option
@quiet_option
def install(
    file: Path,
    trust: tuple[Path, ...],
    threshold: int | None,
    root: Path,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fill a site's store from a bundle and switch to it.

    Signatures first; then every blob is hashed on its way into the store, once on the disk; then the repositories are
    made and switched to in one step. The first installation pins the trusted keys and the threshold. Killed at any
    point, the same command goes on. No root is needed.

    \b
    Example:
      bundle install site.bundle --trust release.pub --root /srv/site
    """
    from bundler.signing.keys import read_public_key
    from bundler.support.parallel import cores
    from bundler.workflows.install import install as run

    keys = [read_public_key(path) for path in trust]
    with progress_of("install", quiet=quiet) as progress:
        done = run(file, root, keys=keys, threshold=threshold, jobs=jobs or 2 * cores(), progress=progress)
    if as_json:
        facts = {
            "root": str(done.root),
            "generation": str(done.folder),
            "release": {"line": done.statement.release.line, "number": done.statement.release.number},
            "content": str(done.statement.content),
            "new": done.new,
            "changed": done.changed,
            "signed": list(done.signed),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    if not done.changed:
        click.echo(f"{root} has release {done.statement.release} in use already: nothing to do")
        return
    click.echo(f"{root} now uses release {done.statement.release}: {human(done.new)} were new to its store")
    for keyid in done.signed:
        click.echo(f"  signed by {keyid}, trusted")
    click.echo(f"  serve it with:  bundle serve --root {root} --listen 0.0.0.0:8080")


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
