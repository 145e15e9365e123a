"""`bundle watch`: recovery on a site host."""

import signal
import threading
from pathlib import Path

import click

from bundler.cli.options import PATH


@click.command()
@click.option(
    "--site",
    "site_file",
    type=PATH,
    default=Path("/etc/bundle/site.yaml"),
    show_default=True,
    metavar="FILE",
    help="The site.",
)
@click.option("--here", required=True, metavar="HOST", help="The host that this is, by its name in site.yaml.")
@click.option(
    "--every", type=click.FloatRange(1, 3600), default=10, show_default=True, metavar="SECONDS", help="How often."
)
def watch(site_file: Path, here: str, every: float) -> None:
    """Look at this site host's services, and mend what their remedies can.

    systemd restarts what dies; this does the rest: it restarts what hangs, and brings settings, views and certificates
    back to what site.yaml and the release say. A finding must be seen twice, tries come later and later, and there is a
    most for each check and for the host; after that it says what people must do. It acts on its own host alone, and not
    while an installer works there. It runs as bundle-watch.service; `bundle logs watch` shows what it did.

    \b
    Example:
      bundle watch --here node1
    """
    from bundler.watch.decide import Limits
    from bundler.workflows.deployment import Request
    from bundler.workflows.watch import watch as run

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(Request(site=site_file), here, say=click.echo, stop=stop, interval=every, limits=Limits())
