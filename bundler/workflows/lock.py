"""`bundle lock`: from a profile to a lock that names every blob."""

from dataclasses import dataclass
from pathlib import Path

from bundler.catalog.load import load
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock, parse_lock
from bundler.model.lock_text import write_lock
from bundler.resolve.changes import Change, changes_between
from bundler.resolve.resolve import Resolvers, resolve
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Update
from bundler.support.files import read_text, write_file
from bundler.support.progress import Progress
from bundler.transport import Transport
from bundler.workflows.create import Places, check_names


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
    manifests: Path,
    places: Places,
    update: Update,
    dry_run: bool,
    progress: Progress,
) -> Locked:
    """Resolve, check, and write the lock only when something changed."""
    declared = load(profile, manifests=manifests)
    old = read_text(out, limit=LIMITS.document) if out.exists() else ""
    before = parse_lock(old, file=str(out)) if old else None
    transport = Transport()
    resolvers = Resolvers(
        transport=transport,
        registry=Registry(transport=transport, upstreams=places.upstreams, realms=places.realms),
        index=PackageIndex(transport, places.upstreams),
        upstreams=places.upstreams,
        files=declared.files,
    )
    refresh = f"bundle lock -p {profile} -o {out} --update"
    after = resolve(declared, resolvers, before=before, update=update, progress=progress, refresh=refresh)
    transport.close()
    check_names(after)
    text = write_lock(after)
    if text != old and not dry_run:
        write_file(out, text.encode())
    return Locked(lock=after, changes=changes_between(before, after), written=text != old and not dry_run)
