"""`bundle receipt`."""

import json
from pathlib import Path

import click

from bundler.cli.options import PATH, json_option
from bundler.cli.progress import human
from bundler.support.progress import counted


@click.command()
@click.option("--root", type=PATH, required=True, metavar="DIR", help="The site's root.")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The receipt to write.")
@json_option
def receipt(root: Path, output: Path, as_json: bool) -> None:
    """Write down what a site holds, signed by the site's own key.

    Carry the receipt to the connected side: `bundle create --delta-from` then leaves out what the site has. Read the
    key's id to them once by another way, for --site-key.

    \b
    Example:
      bundle receipt --root /srv/bundle -o site.receipt
    """
    from bundler.workflows.receipt import write

    done = write(root, output)
    made = done.receipt
    if as_json:
        facts = {
            "receipt": str(output),
            "key": done.keyid,
            "current": str(made.releases[made.current].release),
            "releases": [str(base.release) for base in made.releases],
            "blobs": len(made.blobs),
            "size": sum(held.size for held in made.blobs),
            "free": made.free,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    size = human(sum(held.size for held in made.blobs))
    click.echo(
        f"wrote {output}: release {made.releases[made.current].release}, {counted(len(made.blobs), 'blob')}, {size}"
    )
    click.echo(f"  signed by this site: {done.keyid}")
