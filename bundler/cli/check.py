"""`bundle check` and `bundle diff`."""

import json
from pathlib import Path

import click

from bundler.cli.options import (
    PATH,
    json_option,
    manifests_option,
    pairs,
    quiet_option,
    realm_option,
    threshold_option,
    trust_option,
    upstream_option,
)
from bundler.cli.progress import human, progress_of
from bundler.errors import Incomplete, Usage


@click.command()
@click.argument("file", type=PATH, default=Path("images.lock"))
@trust_option
@threshold_option(1)
@manifests_option
@upstream_option
@realm_option
@click.option("--all", "everything", is_flag=True, help="Show hints too: images that other values would bring.")
@json_option
@quiet_option
def check(
    file: Path,
    trust: tuple[Path, ...],
    threshold: int,
    manifests: tuple[Path, ...],
    upstreams: tuple[str, ...],
    realms: tuple[str, ...],
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prove that a lock, or a bundle, comes up short of nothing.

    Every chart is rendered by the locked helm, and every image that anything names must be in FILE; wheels and
    packages are resolved again from FILE alone; versions are matched by a table. `create` proves the same. Programs
    out of a bundle are run, so its signatures are judged first.

    \b
    Example:
      bundle check images.lock
      bundle check site.bundle --trust release.pub
    """
    from bundler.catalog.manifests import Manifests
    from bundler.signing.keys import read_public_key
    from bundler.transport import Upstreams
    from bundler.workflows.check import Checked, check_bundle, check_lock
    from bundler.workflows.diff import is_bundle
    from bundler.workflows.places import Places

    done: Checked
    with progress_of("check", quiet=quiet) as progress:
        if is_bundle(file):
            if not trust:
                raise Usage(message="give at least one --trust NAME.pub", advice="Programs out of the bundle are run.")
            keys = [read_public_key(path) for path in trust]
            done = check_bundle(file, keys=keys, threshold=threshold, progress=progress)
        else:
            places = Places(
                manifests=Manifests.of(manifests), upstreams=Upstreams.parse(upstreams), realms=pairs(realms, "--realm")
            )
            done = check_lock(file, places=places, progress=progress)
    proof, lock = done.proof, done.lock
    if as_json:
        facts = {
            "file": str(file),
            "profile": lock.profile,
            "complete": not proof.errors,
            "errors": list(proof.errors),
            "missing": [
                {"kind": each.kind, "name": each.name, "target": each.target, "wanted_by": list(each.wanted_by)}
                for each in proof.missing
            ],
            "skew": [{"name": each.name, "text": str(each), "source": each.source} for each in proof.skew],
            "images": [
                {
                    "kind": str(each.kind),
                    "severity": str(each.severity),
                    "image": each.image,
                    "where": list(each.where),
                    "why": each.why,
                    "advice": each.advice,
                }
                for each in proof.findings
            ],
            "notes": list(proof.notes),
            "renders": proof.renders,
            "uses": proof.uses,
        }
        click.echo(json.dumps(facts, indent=2))
        if proof.errors:
            raise Incomplete(profile=lock.profile, problems=proof.errors)
        return
    from bundler.closure.judge import Severity
    from bundler.closure.proof import line_of

    for finding in proof.findings:
        if finding.severity is Severity.WARNING or (everything and finding.severity is Severity.HINT):
            click.echo(f"{finding.severity}: {line_of(finding)}")
    for note in proof.notes:
        click.echo(f"not seen: {note}")
    hints = sum(finding.severity is Severity.HINT for finding in proof.findings)
    if hints and not everything:
        click.echo(f"{hints} images only with other values of the charts (--all shows them)")
    if proof.errors:
        raise Incomplete(profile=lock.profile, problems=proof.errors)
    click.echo(
        f"{file}: complete. {len(lock.images)} images, {len(lock.charts)} charts ({proof.renders} renders, "
        f"{proof.uses} places that name an image), {len(lock.wheels)} wheels, {len(lock.debs)} packages, "
        f"{len(lock.files)} files"
    )


@click.command()
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@json_option
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Show what differs between two locks or bundles.

    Added, removed and changed pins, and how many bytes the second one has that the first one does not. Nothing is
    proved; `bundle verify` does that.

    \b
    Example:
      bundle diff site-1.bundle images.lock
    """
    from bundler.workflows.diff import diff as run

    found = run(first, second)
    if as_json:
        facts = {
            "changes": [
                {"kind": each.kind, "name": each.name, "before": each.before, "after": each.after}
                for each in found.changes
            ],
            "carry": dict(found.carry),
            "bytes": found.total,
            "whole": found.whole,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    for change in found.changes:
        click.echo(change.line)
    if not found.changes:
        click.echo("the same pins")
    carry = ", ".join(f"{kind} {human(count)}" for kind, count in found.carry) or "nothing"
    click.echo(f"to carry: {human(found.total)} of {human(found.whole)} ({carry})")
