"""What the build side's workflows begin with: where bytes come from, and the lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bundler.archive.contents import chart_reference
from bundler.archive.slices import stands_for_volumes
from bundler.catalog.manifests import Manifests
from bundler.errors import Usage
from bundler.fetch.cache import Cache
from bundler.fetch.pool import Sources
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.sitenames import check_site_names
from bundler.sources.debs import DebLocator
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.wheels import WheelLocator
from bundler.support.files import read_text
from bundler.support.progress import Progress
from bundler.transport import Transport, Upstreams

_USTAR = slice(257, 262)  # where a tar says that it is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where bytes come from: `manifests` is where `file:` URLs are, `reuse` are bundles and sites to copy from."""

    manifests: Manifests
    upstreams: Upstreams = field(default_factory=Upstreams)
    realms: Mapping[str, str] = field(default_factory=dict)
    reuse: Sequence[Path] = ()


def read_lock(path: Path) -> Lock:
    """Raises NotReadable, InvalidDocument, Usage for a bundle, and NameConflict for what could not stand side by side
    on a site."""
    if is_bundle(path):
        raise Usage(message=f"{path} is a bundle, and a lock is needed", advice="`bundle lock` writes locks.")
    lock = parse_lock(read_text(path, limit=LIMITS.document), file=str(path))
    check_names(lock)
    return lock


def is_bundle(path: Path) -> bool:
    """Whether a file is a tar, as every bundle is, or stands for volumes. A lock is text."""
    if stands_for_volumes(path):
        return True
    try:
        with path.open("rb") as file:
            return file.read(512)[_USTAR] == b"ustar"
    except OSError:
        return False  # who reads it next says why


def check_names(lock: Lock) -> None:
    """Raises NameConflict for what could not stand side by side on a site."""
    check_site_names(
        images=((image.reference, image.root.digest) for image in lock.images),
        charts=((chart.name, chart_reference(chart), chart.digest) for chart in lock.charts),
        debs=((deb.archive, deb.release, deb.file, deb.digest) for deb in lock.debs),
        files=((entry.name, entry.digest) for entry in lock.files),
    )


def sources_of(places: Places, transport: Transport, progress: Progress, *, replaced: Path | None = None) -> Sources:
    """Raises what `Cache` does."""
    return Sources(
        transport=transport,
        registry=Registry(transport=transport, upstreams=places.upstreams, realms=places.realms, note=progress.note),
        wheels=WheelLocator(PackageIndex(transport, places.upstreams)),
        debs=DebLocator(transport, places.upstreams),
        manifests=places.manifests,
        upstreams=places.upstreams,
        cache=Cache(places.reuse, replaced=replaced),
    )
