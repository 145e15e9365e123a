"""`bundle create`: from a lock to one signed file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bundler.archive import tar
from bundler.archive.draft import Draft, draft_of
from bundler.archive.form import BOOTSTRAP, STATEMENT, signature_name
from bundler.errors import DoubledKey
from bundler.fetch.bootstrap import digest_of, write_known
from bundler.fetch.cache import Cache
from bundler.fetch.partial import Partial
from bundler.fetch.pool import Sources, fetch_all
from bundler.fetch.tasks import tasks_of
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock, parse_lock
from bundler.model.sitenames import check_site_names
from bundler.model.statement import Statement, write_statement
from bundler.signing.keys import PublicKey, SigningKey
from bundler.sources.debs import DebLocator
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.wheels import WheelLocator
from bundler.support.files import read_text
from bundler.support.progress import Progress
from bundler.transport import Transport, Upstreams
from bundler.workflows.tool import tool_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where bytes come from: `files` is the folder of `file:` URLs, `reuse` are bundles and sites to copy from."""

    files: Path
    upstreams: Upstreams = field(default_factory=Upstreams)
    realms: Mapping[str, str] = field(default_factory=dict)
    reuse: Sequence[Path] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """`received` counts bytes from the network in this run; `resumed` says that an earlier run had begun."""

    out: Path
    statement: Statement
    size: int
    received: int
    resumed: bool


def create(
    lock_path: Path,
    out: Path,
    *,
    keys: Sequence[SigningKey],
    places: Places,
    jobs: int,
    progress: Progress,
) -> Created:
    """Fetch everything that the lock names into its place, sign, and give the file its name at the very end."""
    lock = read_lock(lock_path)
    refuse_doubled([key.public for key in keys], where="--key")
    draft = draft_of(lock, sources=tool_sources(), signers=tuple(key.public for key in keys))
    tasks = tasks_of(lock, draft.contents, draft.bootstrap, draft.layout)
    transport = Transport()
    sources = sources_of(places, transport, replaced=out)
    with Partial(out, plan=draft.plan, size=draft.layout.size, blobs=len(tasks)) as partial:
        if partial.resumed:
            progress.note(f"going on with {partial.path}")
        _write_known(partial, draft)
        refresh = f"bundle lock -p {lock.profile} -o {lock_path} --update"
        fetch_all(tasks, partial, sources, jobs=jobs, progress=progress, refresh=refresh)
        statement = _sign(partial, draft, keys)
        partial.publish()
        resumed = partial.resumed
    transport.close()
    return Created(out=out, statement=statement, size=draft.layout.size, received=transport.received, resumed=resumed)


def read_lock(path: Path) -> Lock:
    """Raises NotReadable, InvalidDocument, and NameConflict for what could not stand side by side on a site."""
    lock = parse_lock(read_text(path, limit=LIMITS.document), file=str(path))
    check_names(lock)
    return lock


def check_names(lock: Lock) -> None:
    """Raises NameConflict for what could not stand side by side on a site."""
    check_site_names(
        images=((image.reference, image.root.digest) for image in lock.images),
        debs=((deb.archive, deb.release, deb.file, deb.digest) for deb in lock.debs),
        files=((entry.name, entry.digest) for entry in lock.files),
    )


def refuse_doubled(keys: Sequence[PublicKey], *, where: str) -> None:
    """Raises DoubledKey."""
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise DoubledKey(keyid=key.keyid, where=where)


def sources_of(places: Places, transport: Transport, *, replaced: Path | None = None) -> Sources:
    """Raises what `Cache` does."""
    return Sources(
        transport=transport,
        registry=Registry(transport=transport, upstreams=places.upstreams, realms=places.realms),
        wheels=WheelLocator(PackageIndex(transport, places.upstreams)),
        debs=DebLocator(transport, places.upstreams),
        files=places.files,
        cache=Cache(places.reuse, replaced=replaced),
    )


def _write_known(partial: Partial, draft: Draft) -> None:
    """Headers, padding, and all that we write ourselves; the statement and the signatures come last."""
    for place in draft.layout.places:
        partial.write(place.header, place.start)
        partial.write(draft.ready.get(place.member.name, b""), place.body)
        partial.write(place.padding, place.body + place.member.size)
    partial.write(tar.END, draft.layout.size - len(tar.END))
    write_known(partial, draft.bootstrap, draft.layout.place(BOOTSTRAP).body)


def _sign(partial: Partial, draft: Draft, keys: Sequence[SigningKey]) -> Statement:
    """Write the statement, and with keys the signatures over it and over bootstrap.tar."""
    place = draft.layout.place(BOOTSTRAP)
    statement = draft.finished(digest_of(partial, place.body, place.member.size))
    data = write_statement(statement)
    partial.write(data, draft.layout.place(STATEMENT).body)
    bootstrap = partial.read(place.member.size, place.body) if keys else b""
    for key in keys:
        for name, signed in ((STATEMENT, data), (BOOTSTRAP, bootstrap)):
            partial.write(key.sign(signed), draft.layout.place(signature_name(name, key.public.keyid)).body)
    return statement
