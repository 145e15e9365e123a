"""Plain files: what a manifest or the vendor's list says of them, or what is found at the first lock."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from bundler.errors import NotFound, WrongBytes
from bundler.model.component import FileRequest
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.resolve.run import Job, Run
from bundler.sources.checksums import vendor_digest
from bundler.sources.files import file_source, read_whole, size_of
from bundler.transport import Request


def file_jobs(run: Run, requests: Iterable[FileRequest]) -> list[Job]:
    return [(f"file {request.name}", partial(_resolve, run, request)) for request in dict.fromkeys(requests)]


def _resolve(run: Run, request: FileRequest) -> None:
    """Lock one file. A pin is kept while its URL and what vouches for it are the same; where they are not and the
    manifest is, its source has changed it, and it is gone. Raises WrongBytes when manifest and list differ."""
    wanted = _vouched(run, request)
    pin = next((each for each in run.before.files if each.name == request.name), None) if run.before else None
    if pin is None or pin.url != request.url or run.update.moves(request.name):
        found = _lock(run, request, wanted)
    elif wanted == pin.digest:
        found = pin
    elif request.digest is not None:
        found = _lock(run, request, wanted)  # the manifest says so
    else:
        if why := _changed(run, request, pin, wanted):
            run.found.gone.append(f"file {request.name}: {why}")
        found = pin
    run.found.files.append(found)
    run.progress.note(f"file {request.name}")


def _vouched(run: Run, request: FileRequest) -> Digest | None:
    """What the manifest says, or the vendor's list; both, if they agree."""
    if request.checksums is None:
        return request.digest
    listed = vendor_digest(
        request,
        request.checksums,
        locate=partial(_locate, run),
        transport=run.resolvers.transport,
        manifests=run.declared.manifests,
    )
    if request.digest not in (None, listed):
        found = f"{listed} in {request.checksums.url}"
        raise WrongBytes(what=request.name, expected=f"{request.digest} as the manifest says", found=found)
    return listed


def _changed(run: Run, request: FileRequest, pin: LockedFile, listed: Digest | None) -> str:
    """Why a pin does not hold any more; empty if it does. Of a server's file, without a list, only the size is seen."""
    if listed is not None:
        return f"its vendor's list now says {listed}"
    source, transport = _locate(run, request.url), run.resolvers.transport
    if isinstance(source, Path):
        digest, _ = read_whole(source, transport=transport, tell=partial(_tell, run, request.name))
        return f"it is now {digest}" if digest != pin.digest else ""
    try:
        size = size_of(source, transport=transport)
    except NotFound:
        return "it is no longer there"
    return f"it has {size} bytes now, not {pin.size}" if size not in (None, pin.size) else ""


def _lock(run: Run, request: FileRequest, wanted: Digest | None) -> LockedFile:
    """A file whose digest is known is not read: `create` does, and proves it. A local one is, for it costs little."""
    source, transport = _locate(run, request.url), run.resolvers.transport
    size = size_of(source, transport=transport)
    digest = wanted
    if digest is None:
        run.progress.note(f"file {request.name}: nobody vouches for it; reading {size or 'all its'} bytes to pin them")
    if digest is None or size is None or isinstance(source, Path):
        found, size = read_whole(source, transport=transport, tell=partial(_tell, run, request.name))
        if digest not in (None, found):
            raise WrongBytes(what=request.name, expected=str(digest), found=str(found))
        digest = found
    return LockedFile(name=request.name, url=request.url, digest=digest, size=size)


def _locate(run: Run, url: str) -> Request | Path:
    return file_source(url, manifests=run.declared.manifests, upstreams=run.resolvers.upstreams)


def _tell(run: Run, name: str, count: int) -> None:
    run.progress.note(f"file {name}: {count / 1e9:.1f} GB read")
