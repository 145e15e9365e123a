"""`bundle receipt`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.options import PATH, json_option
from bundler.cli.progress import human
from bundler.cli.wholesite import place_of, receipts, where_options
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.model.receipt import Receipt


@click.command()
@where_options
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The receipt to write.")
@json_option
def receipt(root: Path | None, site_file: Path | None, output: Path, as_json: bool, **given: Any) -> None:
    """Write down what a site holds, signed by the site's own key.

    Carry the receipt to the connected side: `bundle create --delta-from` then leaves out what the site has. Read the
    key's id to them once by another way, for --site-key.

    With --site each site host writes one; where there are several, FILE's name gets the host's. A delta against all of
    them is one for each.

    \b
    Example:
      bundle receipt --root /srv/bundle -o site.receipt
      bundle receipt --site site.yaml -o site.receipt
    """
    from bundler.workflows.receipt import write

    root = place_of(root, site_file)
    if root is None:
        assert site_file is not None
        receipts(
            site_file, output, as_json=as_json, facts=lambda one: _facts(one.path, one.keyid, one.receipt), **given
        )
        return
    done = write(root, output)
    made = done.receipt
    if as_json:
        click.echo(json.dumps(_facts(output, done.keyid, made), indent=2))
        return
    size = human(sum(held.size for held in made.blobs))
    click.echo(
        f"wrote {output}: release {made.releases[made.current].release}, {counted(len(made.blobs), 'blob')}, {size}"
    )
    click.echo(f"  signed by this site: {done.keyid}")


def _facts(path: Path, keyid: str, made: "Receipt") -> dict[str, object]:
    return {
        "receipt": str(path),
        "key": keyid,
        "current": str(made.releases[made.current].release),
        "releases": [str(base.release) for base in made.releases],
        "blobs": len(made.blobs),
        "size": sum(held.size for held in made.blobs),
        "free": made.free,
    }
