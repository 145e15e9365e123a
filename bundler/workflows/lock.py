"""`bundle lock`: from a profile to a lock that names every blob."""

import difflib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from bundler.catalog.licenses import check_licenses
from bundler.catalog.load import load
from bundler.errors import Malformed, StaleLock, Usage
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.model.reference import Reference
from bundler.resolve.changes import Change, changes_between
from bundler.resolve.resolve import resolve
from bundler.resolve.run import Resolvers
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Update
from bundler.support.files import read_text, write_file
from bundler.support.progress import Progress
from bundler.transport import Transport
from bundler.workflows.places import Places, check_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """`written` is False when the lock on the disk said the same already, or when it was only tried."""

    lock: Lock
    changes: tuple[Change, ...]
    written: bool


def lock(
    profile: str,
    out: Path,
    *,
    places: Places,
    update: Iterable[str],
    dry_run: bool,
    progress: Progress,
    check: bool = False,
) -> Locked:
    """Resolve, check, and write the lock only when something changed; with `check` raise StaleLock instead.

    `update` names the pins that may move, `*` all of them. Raises Usage for a name that no pin has.
    """
    declared = load(profile, manifests=places.manifests)
    check_licenses(declared)
    old = read_text(out, limit=LIMITS.document) if out.exists() else ""
    before = parse_lock(old, file=str(out)) if old else None
    refresh = f"bundle lock -p {profile} -o {out} --update"
    moves = _moves(update, before)
    with resolvers_of(places, progress) as resolvers:
        after = resolve(declared, resolvers, before=before, update=moves, progress=progress, refresh=refresh)
    check_names(after)
    text = write_lock(after)
    changes = changes_between(before, after)
    if check and text != old:
        raise StaleLock(lock=str(out), changes=tuple(map(str, changes)))
    if text != old and not dry_run:
        write_file(out, text.encode())
    return Locked(lock=after, changes=changes, written=text != old and not dry_run)


@contextmanager
def resolvers_of(places: Places, progress: Progress) -> Iterator[Resolvers]:
    """Whom to ask, with a folder that is gone afterwards."""
    with closing(Transport()) as transport, tempfile.TemporaryDirectory(prefix="bundle-lock-") as scratch:
        yield Resolvers(
            transport=transport,
            registry=Registry(
                transport=transport, upstreams=places.upstreams, realms=places.realms, note=progress.note
            ),
            index=PackageIndex(transport, places.upstreams),
            upstreams=places.upstreams,
            scratch=Path(scratch),
        )


def _moves(names: Iterable[str], before: Lock | None) -> Update:
    """Names as people write them: a package, a project in any spelling, an image with or without Docker Hub's host."""
    everything, names = "*" in names, frozenset(names) - {"*"}
    pins = _pin_names(before) if before else frozenset()
    found: set[str] = set()
    for name in names:
        known = {name, canonicalize_name(name), _canonical(name)} & pins
        if not known:
            close = difflib.get_close_matches(name, pins, n=3)
            raise Usage(message=f"no pin is named {name}", advice=f"Close to it: {', '.join(close)}" if close else "")
        found |= known
    return Update(everything=everything, names=frozenset(found))


def _pin_names(lock: Lock) -> frozenset[str]:
    wheels = (*lock.wheels, *lock.bootstrap.wheels)
    return frozenset(
        name
        for names in (
            (deb.package for deb in lock.debs),
            (wheel.project for wheel in wheels),
            (image.name for image in lock.images),
            (chart.chart for chart in lock.charts),
            (file.name for file in lock.files),
        )
        for name in names
    )


def _canonical(name: str) -> str:
    try:
        return str(Reference.parse(name))
    except Malformed:
        return name
