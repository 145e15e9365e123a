"""The draft of a bundle: everything about it that is known before its blobs are there, which is nearly all.

Only the digest of bootstrap.tar is missing until the tool's own wheels have arrived; it has a fixed length, so the
statement's size and with it every offset is known at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import bundler
from bundler.archive import oci
from bundler.archive.bootstrap import Bootstrap, bootstrap_of
from bundler.archive.contents import Contents, contents_of
from bundler.archive.delta import Known, delta_of
from bundler.archive.form import bundle_layout
from bundler.archive.layout import Layout
from bundler.archive.recipe import recipe
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Delta, Entry, Held, Patched, Statement, write_statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey

_UNKNOWN = Digest("0" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """`ready` has the bytes of every entry that we write ourselves, bootstrap.tar not among them."""

    contents: Contents
    bootstrap: Bootstrap
    layout: Layout
    ready: Mapping[str, bytes]
    statement: Statement

    @property
    def plan(self) -> Digest:
        """What identifies the file to be made: two drafts with one plan give the same bytes at the same places."""
        sources = [f"{name} {Digest.of(data)}" for name, data in sorted(self.bootstrap.ready.items())]
        wheels = [f"{name} {wheel.digest}" for name, wheel in sorted(self.bootstrap.wheels.items())]
        return Digest.of(write_statement(self.statement) + "\n".join(sources + wheels).encode())

    def finished(self, bootstrap: Digest) -> Statement:
        """The statement, now that the digest of bootstrap.tar is known."""
        first, *rest = self.statement.entries
        return replace(self.statement, entries=(replace(first, digest=bootstrap), *rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patching:
    """Blobs that travel as patches, each with its patch's size."""

    patched: Patched
    size: int

    @property
    def entry(self) -> Entry:
        patch = self.patched.patch
        return Entry(name=f"{PATCH_PREFIX}{patch.hex}", digest=patch, size=self.size)


def draft_of(
    lock: Lock,
    *,
    sources: Mapping[str, bytes],
    signers: tuple[PublicKey, ...],
    known: Known | None = None,
    patches: Sequence[Patching] = (),
) -> Draft:
    """`sources` are the tool's own files by path; `signers` in any order. With `known` it is a delta for who has that,
    where blobs may travel as `patches`.

    Raises Malformed for a lock at odds with itself, MalformedStatement for more than a statement may hold.
    """
    signers = tuple(sorted(signers, key=lambda key: key.keyid))
    contents = contents_of(lock)
    delta = _with(delta_of(contents, known), patches) if known else None
    left: tuple[Held | Patched, ...] = (*delta.held, *delta.patches) if delta else ()
    held = {each.digest for each in left}
    bootstrap = bootstrap_of(lock.bootstrap, sources)
    ready = {
        "README.txt": recipe(signed=bool(signers)),
        "oci-layout": oci.LAYOUT,
        "index.json": contents.index,
        **{f"{BLOB_PREFIX}{digest.hex}": data for digest, data in contents.ready.items()},
    }
    statement = Statement(
        release=lock.release,
        content=Digest.of(contents.index),
        signers=tuple(key.raw for key in signers),
        platforms=lock.platforms,
        tool=f"bundler-{bundler.__version__}",
        entries=(
            Entry(name="bootstrap.tar", digest=_UNKNOWN, size=bootstrap.layout.size),
            *(
                Entry(name=name, digest=Digest.of(ready[name]), size=len(ready[name]))
                for name in ("README.txt", "oci-layout", "index.json")
            ),
            *(
                Entry(name=f"{BLOB_PREFIX}{blob.digest.hex}", digest=blob.digest, size=blob.size)
                for blob in contents.blobs
                if blob.digest not in held
            ),
            *sorted((each.entry for each in patches), key=lambda entry: entry.digest),
        ),
        lock=contents.lock,
        images=contents.images,
        charts=contents.charts,
        wheels=contents.wheels,
        debs=contents.debs,
        files=contents.files,
        delta=delta,
    )
    data = write_statement(statement)
    parse_statement(data, path="the draft")  # what no reader would take is not begun
    layout = bundle_layout(len(data), [key.keyid for key in signers], statement.entries)
    return Draft(contents=contents, bootstrap=bootstrap, layout=layout, ready=ready, statement=statement)


def _with(delta: Delta, patches: Sequence[Patching]) -> Delta:
    return replace(delta, patches=tuple(sorted((each.patched for each in patches), key=lambda each: each.digest)))
