"""Pushing: ask what a registry lacks, then send that and nothing else.

Blobs first, each read once from the bundle file and taken over by the registry itself where another of its repositories
has it; then manifests, parts before indexes; then tags; then what refers to what. So a registry never names what it
does not have, and a push that ended anywhere is gone on with by the next.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bundler.errors import BundleError, Malformed
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.statement import BLOB_PREFIX
from bundler.push.look import Blobs, Need, is_fatal
from bundler.push.payload import Payload
from bundler.push.plan import Item
from bundler.push.registry import Registry, words_of
from bundler.push.upload import CHUNK, Upload
from bundler.support import parallel
from bundler.support.progress import Progress
from bundler.views.referrers import merged_index, referrers_tag

_REFUSALS = (400, 404, 422)  # of an index for what it lacks: MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID and their like


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was sent: numbers, and `size` in bytes; what was refused or failed, by artifact."""

    blobs: int = 0
    size: int = 0
    mounted: int = 0
    manifests: int = 0
    tags: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, BundleError] = field(default_factory=dict)


def outlook(items: Sequence[Item], blobs: Blobs, need: Need) -> Outcome:
    """What a push would send."""
    sent = need.to_send()
    return Outcome(
        blobs=len(sent),
        size=sum(map(blobs.size, sent)),
        mounted=need.to_mount(),
        manifests=len(need.manifests),
        tags=len(need.tags),
        failed={item.name: error for item in items if (error := need.failure(item))},
    )


class Push:
    """One push of what `need` says is lacking."""

    def __init__(
        self,
        registry: Registry,
        items: Sequence[Item],
        blobs: Blobs,
        need: Need,
        *,
        jobs: int,
        progress: Progress,
        chunk: int = CHUNK,
    ) -> None:
        self._registry, self._items, self._blobs, self._need = registry, items, blobs, need
        self._jobs, self._progress, self._chunk = jobs, progress, chunk
        self._lock = threading.Lock()
        self._unsent: dict[Digest, BundleError] = {}
        self._acknowledged: set[tuple[str, Digest]] = set()  # referrers that the registry has listed by itself
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Raises what ends everything: no connection, no certificate, no right to push."""
        lacking = [digest for digest, found in self._need.blobs.items() if found.lacking]
        lacking.sort(key=lambda digest: (-self._blobs.size(digest), digest))
        self._progress.expect(sum(map(self._blobs.size, self._need.to_send())))
        self._unsent = dict(parallel.each(lacking, self._send_blob, jobs=self._jobs, fatal=is_fatal))
        for item, error in parallel.each(self._items, self._send_item, jobs=self._jobs, fatal=is_fatal):
            self.outcome.failed[item.name] = error
        self._send_listings()
        return self.outcome

    def _send_blob(self, digest: Digest) -> None:
        """Bring a blob into every repository that lacks it; it travels once."""
        found, label = self._need.blobs[digest], f"{BLOB_PREFIX}{digest.hex}"
        having, lacking = sorted(found.having), sorted(found.lacking)
        self._progress.begin(label)
        try:
            for repository in lacking:
                location = None
                if having:
                    mounted, location = self._registry.mount(repository, digest, having[0])
                    if mounted:
                        self._count(mounted=1)
                        continue
                payload = Payload(self._blobs.file, self._blobs.place(digest), digest, self._progress.advance)
                Upload(self._registry, repository, payload, location=location, chunk=self._chunk).run()
                self._count(blobs=1, size=payload.size)
                having.append(repository)
        finally:
            self._progress.end(label)

    def _send_item(self, item: Item) -> None:
        """Manifests in their order, then the tag. Raises what kept a blob from coming; nothing names it then."""
        unsent = (self._unsent[digest] for digest in item.blobs if digest in self._unsent)
        if error := self._need.failure(item) or next(unsent, None):
            raise error
        refused = False
        for digest in item.manifests:
            if (item.repository, str(digest)) in self._need.manifests:
                refused = not self._send_manifest(item, digest) or refused
        if item.tag and not refused and (item.repository, item.tag) in self._need.tags:
            self._registry.put_manifest(item.repository, item.tag, self._blobs.manifest(item.root))
            self._count(tags=1)

    def _send_manifest(self, item: Item, digest: Digest) -> bool:
        """False where the registry refuses an index for what it lacks."""
        data = self._blobs.manifest(digest)
        accept = _REFUSALS if digest in item.sparse else ()
        answer = self._registry.put_manifest(item.repository, str(digest), data, accept=accept)
        if answer.status in _REFUSALS:
            with self._lock:
                self.outcome.refused[item.name] = words_of(answer)
            return False
        self._count(manifests=1)
        if "oci-subject" in answer.headers:
            with self._lock:
                self._acknowledged.add((item.repository, digest))
        return True

    def _send_listings(self) -> None:
        """Where a registry has no API for what refers to a manifest, clients look at a tag."""
        listings: dict[tuple[str, Digest], set[Digest]] = {}
        for item in self._items:
            if item.name not in self.outcome.failed:
                for subject, digest in item.refers:
                    listings.setdefault((item.repository, subject), set()).add(digest)
        failed = parallel.each(
            listings.items(), lambda each: self._list(*each[0], each[1]), jobs=self._jobs, fatal=is_fatal
        )
        for ((repository, subject), _), error in failed:
            self.outcome.failed[f"{repository}:{referrers_tag(subject)}"] = error

    def _list(self, repository: str, subject: Digest, referrers: Collection[Digest]) -> None:
        """See that a manifest's referrers are found: by the API, or by the tag, where others' entries stay."""
        if all((repository, digest) in self._acknowledged for digest in referrers):
            return
        listed = self._registry.referrers(repository, subject)
        if listed is not None and _names_all(listed, referrers):
            return
        tag = referrers_tag(subject)
        known = self._registry.manifest(repository, tag)
        if known is not None and _names_all(known, referrers):
            return
        index = merged_index(known, [self._blobs.manifest(digest) for digest in referrers])
        self._registry.put_manifest(repository, tag, index)
        self._count(tags=1)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self.outcome, name, getattr(self.outcome, name) + count)


def _names_all(index: bytes, digests: Collection[Digest]) -> bool:
    try:
        entries = canonical.load(index, limit=LIMITS.manifest)["manifests"]
        return {str(digest) for digest in digests} <= {str(entry["digest"]) for entry in entries}
    except (Malformed, LookupError, TypeError):
        return False
