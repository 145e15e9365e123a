"""Making blobs of patches, in a site's store: each from its patch, which has come already, and from what the store has.

Killed anywhere, the next installation goes on: a patch stays until its blob has its name. Nothing of a patch is
believed: a blob counts when its bytes have its digest.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bundler.errors import BundleError, Malformed, PatchFailed, StoreDamaged, WrongBytes
from bundler.model.digest import Digest
from bundler.model.statement import Patched
from bundler.store.blobs import BlobStore
from bundler.store.proof import hash_file
from bundler.support import files, parallel
from bundler.support.progress import Progress

JOBS = 2  # at once, whatever is asked for: each takes up to 256 MB of memory


def rebuild(
    patched: Sequence[Patched],
    store: BlobStore,
    *,
    jobs: int,
    progress: Progress,
    owners: Mapping[str, tuple[str, ...]],
) -> None:
    """Raises PatchFailed, StoreDamaged for a base that is, DiskFull. Others are finished before."""
    if not patched:
        return
    progress.expect(sum(each.size for each in patched))

    def one(each: Patched) -> None:
        label = owners.get(each.entry.name, (each.entry.name,))[0]
        progress.begin(label)
        try:
            _rebuild(each, store, progress, label)
        finally:
            progress.end(label)

    largest_first = sorted(patched, key=lambda each: (-each.size, each.digest))
    failed = parallel.each(largest_first, one, jobs=min(jobs, JOBS), fatal=_is_fatal)
    if failed:
        raise failed[0][1]


def _is_fatal(error: BundleError) -> bool:
    return not isinstance(error, (PatchFailed, StoreDamaged))


def _rebuild(each: Patched, store: BlobStore, progress: Progress, label: str) -> None:
    others: list[str] = []
    try:
        with files.writing(store.folder, missing=each.size + each.scratch), ExitStack() as stack:
            _write(each, store, stack, progress, others)
    except (Malformed, WrongBytes) as error:
        raise _why(each, store, error, tuple(others), label) from None
    with files.writing(store.folder):
        store.patch_path(each.patch).unlink(missing_ok=True)


def _write(each: Patched, store: BlobStore, stack: ExitStack, progress: Progress, others: list[str]) -> None:
    """The blob into the store. `others` gets the kinds of which the maker of the patch had another compressor."""
    from bundler.patch.apply import other_compressors, rebuilt
    from bundler.patch.bytes_at import Bytes, of_descriptor

    sizes = {held.digest: held.size for held in each.bases}

    def opened(path: os.PathLike[str]) -> Bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        return of_descriptor(descriptor, os.fstat(descriptor).st_size)

    def base(digest: Digest, size: int) -> Bytes:
        if sizes.get(digest) != size:
            raise Malformed(found=f"the base {digest} of {size} bytes", expected="one that the statement names")
        return opened(store.path(digest))

    patch = opened(store.patch_path(each.patch))
    head, pieces = rebuilt(patch, base, stack, scratch=store.scratch, room=each.scratch)
    if (head.target.digest, head.target.size) != (each.digest, each.size):
        raise Malformed(found=f"a patch for {head.target.digest}", expected=str(each.digest))
    others += other_compressors(head)
    incoming = stack.enter_context(store.incoming(each.digest, each.size, anew=True))
    for data in pieces:
        parallel.check_stopping()
        incoming.write(memoryview(data))
        progress.advance(len(data))
    incoming.publish()


def _why(
    each: Patched, store: BlobStore, error: Malformed | WrongBytes, others: tuple[str, ...], label: str
) -> BundleError:
    """What is to blame: a base, the patch as it lies here, or this machine's compressors. The patch comes again."""
    for held in each.bases:
        if hash_file(store.path(held.digest), lambda _: None) != held.digest:
            return StoreDamaged(path=str(store.path(held.digest)), why="its bytes have another digest")
    with files.writing(store.folder):
        path = store.patch_path(each.patch)
        right = hash_file(path, lambda _: None) == each.patch
        path.unlink()
    if not right:
        return StoreDamaged(path=str(path), why="the patch was changed on the disk; it is taken away, and comes again")
    why = error.summary if isinstance(error, WrongBytes) else f"found {error.found}, expected {error.expected}"
    return PatchFailed(what=label, digest=str(each.digest), why=why, others=others)
