"""`bundle check` and `bundle diff`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.options import (
    PATH,
    json_option,
    manifests_option,
    names_of,
    places_of,
    quiet_option,
    realm_option,
    threshold_option,
    trust_option,
    upstream_option,
)
from bundler.cli.progress import counts_of, human, progress_of
from bundler.errors import Incomplete, Usage
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.workflows.check import Checked, Surveyed


@click.command()
@click.argument("file", type=PATH, default=Path("images.lock"))
@click.option(
    "-p",
    "--profile",
    metavar="PROFILE",
    shell_complete=names_of("profiles"),
    help="Instead of FILE: a profile, as far as its sources answer.",
)
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
    profile: str | None,
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
    out of a bundle are run, so its signatures are judged first. Without FILE it is images.lock.

    \b
    Example:
      bundle check images.lock
      bundle check site.bundle --trust release.pub
      bundle check -p default
    """
    from bundler.signing.keys import read_public_key
    from bundler.workflows.check import check_bundle, check_lock, check_profile
    from bundler.workflows.places import is_bundle

    places = places_of(manifests=manifests, upstreams=upstreams, realms=realms)
    with progress_of("check", quiet=quiet) as progress:
        if profile:
            _tell_profile(check_profile(profile, places=places, progress=progress), as_json=as_json)
            return
        if is_bundle(file):
            if not trust:
                raise Usage(message="give at least one --trust NAME.pub", advice="Programs out of the bundle are run.")
            keys = [read_public_key(path) for path in trust]
            done = check_bundle(file, keys=keys, threshold=threshold, progress=progress)
        else:
            done = check_lock(file, places=places, progress=progress)
    (_print_json if as_json else _print)(file, done, everything=everything)
    if done.proof.errors:
        raise Incomplete(profile=done.lock.profile, problems=done.proof.errors)


def _print_json(file: Path, done: "Checked", *, everything: bool) -> None:
    proof = done.proof
    facts = {
        "file": str(file),
        "profile": done.lock.profile,
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


def _print(file: Path, done: "Checked", *, everything: bool) -> None:
    from bundler.closure.judge import Severity
    from bundler.closure.proof import line_of

    proof, lock = done.proof, done.lock
    for finding in proof.findings:
        if finding.severity is Severity.WARNING or (everything and finding.severity is Severity.HINT):
            click.echo(f"{finding.severity}: {line_of(finding)}")
    for note in proof.notes:
        click.echo(f"not seen: {note}")
    hints = sum(finding.severity is Severity.HINT for finding in proof.findings)
    if hints and not everything:
        click.echo(f"{counted(hints, 'image')} only with other values of the charts (--all shows them)")
    if not proof.errors:
        click.echo(f"{file} is complete: {counts_of(lock)}")
        if lock.charts:
            uses = counted(proof.uses, "place")
            click.echo(f"  {counted(proof.renders, 'render')} of the charts, {uses} where an image is named")


def _tell_profile(done: "Surveyed", *, as_json: bool) -> None:
    name, failed = done.declared.profile.name, done.survey.failed
    if as_json:
        facts = {
            "profile": name,
            "components": [each.name for each in done.declared.components],
            "errors": list(done.proof.errors),
            "licenses": [{"license": license_, "entry": entry} for license_, entry in done.unaccepted],
            "resolved": list(done.survey.found),
            "unchecked": [{"name": each, "why": error.summary} for each, error in failed],
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"{name}: {len(done.declared.components)} components, every manifest is good")
        for license_, entry in done.unaccepted:
            click.echo(f"licence to accept: {license_}, for {entry}")
        click.echo(f"resolved: {len(done.survey.found)}")
        for each in done.survey.found:
            click.echo(f"  {each}")
        if failed:
            click.echo(f"not checked: {len(failed)}")
            for each, error in failed:
                click.echo(f"  {each}: {'; '.join([error.summary, *error.detail.splitlines()[:1]])}")
            click.echo("not checked either: what charts and tools show when they are looked into")
    if done.proof.errors:
        raise Incomplete(profile=name, problems=done.proof.errors)


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
        same = "  (other targets or other bytes)" if change.before == change.after else ""
        click.echo(f"{change.line}{same}")
    if not found.changes:
        click.echo("the same pins")
    carry = ", ".join(f"{kind} {human(count)}" for kind, count in found.carry) or "nothing"
    click.echo(f"to carry: {human(found.total)} of {human(found.whole)} ({carry})")
