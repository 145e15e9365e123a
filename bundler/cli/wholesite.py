"""What `bundle rollback`, `trust apply` and `receipt` share: one site's folder, or all site hosts of a site.yaml."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bundler.cli.deploy import agreeing, apply_report, options, request_of, show_plan, site_options
from bundler.cli.options import PATH
from bundler.cli.progress import human
from bundler.errors import Usage
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.signing.trust import Trust
    from bundler.workflows.site_receipts import HostReceipt

F = TypeVar("F", bound=Callable[..., Any])

_WHERE = (
    click.option("--root", type=PATH, metavar="DIR", help="The site's folder."),
    click.option("--site", "site_file", type=PATH, metavar="FILE", help="All site hosts of this site.yaml instead."),
    click.option("--take-over", is_flag=True, help="Take the lease from an installer that still holds it."),
)


def where_options(command: F) -> F:
    """`--root` or `--site`, and how its hosts are reached."""
    return options(_WHERE)(site_options(command))


def place_of(root: Path | None, site_file: Path | None) -> Path | None:
    """The root; None where all hosts of a site are meant. Raises Usage for both or neither."""
    if (root is None) is (site_file is None):
        advice = "--root for one folder, --site site.yaml for all site hosts."
        raise Usage(message="one of --root and --site says where", advice=advice)
    return root


def rollback(
    release: str, site_file: Path, *, reason: str, dry_run: bool, yes: bool, as_json: bool, **given: Any
) -> None:
    from bundler.cli.watching import watching
    from bundler.workflows.whole_site import plan_rollback
    from bundler.workflows.whole_site import rollback as run

    request = request_of(None, site_file, **given)
    if dry_run:
        show_plan(plan_rollback(request, release), as_json=as_json)
        return
    agree = agreeing(yes=yes, show=not as_json)
    with watching(quiet=as_json) as watcher:
        done = run(request, release, reason=reason, watcher=watcher, agree=agree)
    apply_report(done, as_json=as_json, nothing="all site hosts use that release already: nothing to do")


def apply_trust(
    file: Path,
    site_file: Path,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    show: Callable[["Trust"], None],
    **given: Any,
) -> None:
    from bundler.cli.watching import watching
    from bundler.workflows.whole_site import apply_trust as run
    from bundler.workflows.whole_site import plan_trust

    request = request_of(None, site_file, **given)
    if dry_run:
        planned, trust = plan_trust(request, file)
        show_plan(planned, as_json=as_json)
        if not as_json:
            show(trust)
        return
    with watching(quiet=as_json) as watcher:
        done, trust = run(request, file, watcher=watcher, agree=agreeing(yes=yes, show=not as_json))
    apply_report(done, as_json=as_json, nothing=f"all site hosts have applied {file} already: nothing to do")
    if not as_json:
        show(trust)


def receipts(
    site_file: Path, output: Path, *, as_json: bool, facts: Callable[["HostReceipt"], Any], **given: Any
) -> None:
    from bundler.workflows.site_receipts import receipts as run

    found = run(request_of(None, site_file, **given), output)
    if as_json:
        click.echo(json.dumps([{"host": each.host, **facts(each)} for each in found], indent=2))
        return
    for each in found:
        size = human(sum(held.size for held in each.receipt.blobs))
        release = each.receipt.releases[each.receipt.current].release
        click.echo(
            f"wrote {each.path}: {each.host}, release {release}, {counted(len(each.receipt.blobs), 'blob')}, {size}"
        )
        click.echo(f"  signed by this host: {each.keyid}")
