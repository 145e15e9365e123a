"""bootstrap.tar alone, for those who need its digest before the bundle is made."""

import hashlib
from pathlib import Path

from bundler.archive import tar
from bundler.archive.bootstrap import Bootstrap
from bundler.fetch.partial import Partial
from bundler.fetch.pool import Sources, fetch_all
from bundler.fetch.tasks import bootstrap_tasks, slots_of
from bundler.model.digest import Digest
from bundler.support.progress import Progress

_CHUNK = 1 << 20


def write_known(partial: Partial, bootstrap: Bootstrap, start: int) -> None:
    """Write what is no wheel of a bootstrap.tar whose first byte is at `start`."""
    for place in bootstrap.layout.places:
        partial.write(place.header, start + place.start)
        partial.write(bootstrap.ready.get(place.member.name, b""), start + place.body)
        partial.write(place.padding, start + place.body + place.member.size)
    partial.write(tar.END, start + bootstrap.layout.size - len(tar.END))


def digest_of(partial: Partial, offset: int, count: int) -> Digest:
    """The digest of a part of the partial file."""
    sha256 = hashlib.sha256()
    while count > 0:
        data = partial.read(min(_CHUNK, count), offset)
        sha256.update(data)
        offset, count = offset + len(data), count - len(data)
    return Digest(sha256.hexdigest())


def assemble(bootstrap: Bootstrap, folder: Path, sources: Sources, *, jobs: int, progress: Progress) -> Digest:
    """Make bootstrap.tar in `folder` and give its digest."""
    tasks = bootstrap_tasks(bootstrap, start=0)
    plan = Digest.of(b"bootstrap")
    size = bootstrap.layout.size
    with Partial(folder / "bootstrap.tar", plan=plan, size=size, blobs=slots_of(tasks)) as partial:
        write_known(partial, bootstrap, 0)
        fetch_all(tasks, partial, sources, jobs=jobs, progress=progress, refresh="bundle lock --update")
        return digest_of(partial, 0, size)
