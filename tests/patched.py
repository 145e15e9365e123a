"""Two releases that are much alike, and the delta between them: what is inside of blobs, and how it is compressed."""

import gzip
import io
import lzma
import random
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import zstandard

from bundler.catalog.manifests import Manifests
from bundler.model.digest import Digest
from bundler.model.lock_text import write_lock
from bundler.patch.apply import rebuilt
from bundler.patch.bytes_at import Bytes, of_bytes
from bundler.patch.make import Blob, make
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows.create import Created, create
from bundler.workflows.places import Places
from tests.bundles import ALICE, TinyBundle, tiny_bundle
from tests.content import make_deb, make_image, make_tar, make_wheel


def text(seed: int, size: int) -> bytes:
    """Lines of words: neither noise nor all alike."""
    dice = random.Random(seed)
    words = [bytes(dice.choices(b"abcdefghijklmnop", k=dice.randrange(2, 9))) for _ in range(300)]
    lines = (b" ".join(dice.choices(words, k=7)) + b",\n" for _ in range(size // 30))
    return b"".join(lines)[:size]


def layer(changed: bytes = b"old") -> bytes:
    """A tar of some files, of which one differs, in size too."""
    return make_tar({f"usr/lib/file{n}": text(n, 60_000) for n in range(6)} | {"etc/changed": changed * 100})


def zipped(changed: bytes = b"old") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(5):
            archive.writestr(zipfile.ZipInfo(f"part{n}.py"), text(n, 30_000), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("changed.py"), changed * 50, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


def contents(changed: bytes) -> dict[str, bytes]:
    """One of each kind, in the version that has this in one of its files."""
    plain = layer(changed)
    return {
        "layer.tar.gz": gzip.compress(plain, 6, mtime=0),
        "layer.tar.xz": lzma.compress(plain, preset=6),
        "layer.tar.zst": zstd(plain),
        "thing.zip": zipped(changed),
        "model.bin": text(50, 200_000) + changed + text(51, 200_000),
        "driver.run": b"#!/bin/sh\necho unpacking\nexit 0\n" + gzip.compress(plain, 9, mtime=0),
    }


def releases(folder: Path) -> tuple[TinyBundle, TinyBundle]:
    """Two whole bundles, with patches to be found in every kind of artifact."""
    return release(folder, 1, b"old"), release(folder, 2, b"newer")


def release(folder: Path, number: int, changed: bytes, **more: bytes) -> TinyBundle:
    """A whole bundle; `more` are files of other names."""
    body = text(9, 50_000).decode() + f"# {changed!r}\n"
    return tiny_bundle(
        folder,
        number=number,
        files=contents(changed) | more,
        images={f"r.example/a/b:{number}": make_image({"app": text(8, 90_000) + changed})},
        wheels=(make_wheel("tiny", f"1.{number}", body=body),),
        debs=(make_deb("hello", f"1.{number}-1", "amd64", body=text(7, 80_000) + changed),),
        name=f"whole{number}.bundle",
    )


def delta_between(old: TinyBundle, new: TinyBundle, name: str = "delta.bundle", **more: object) -> Created:
    """By `create`, as a user makes it; nothing comes over a network."""
    lock = new.path.with_name("new.lock")
    lock.write_text(write_lock(new.lock))
    places = Places(manifests=Manifests(folders=(lock.parent,)), reuse=(new.path,))
    facts = {"keys": (ALICE,), "places": places, "jobs": 2, "progress": Silent(), "bases": (old.path,)} | more
    return create(lock, new.path.with_name(name), **facts)  # type: ignore[arg-type]


def blob_of(data: bytes) -> Blob:
    return Blob(digest=Digest.of(data), data=of_bytes(data))


def patch_of(new: bytes, *old: bytes, folder: Path) -> bytes:
    """The patch, whatever its size."""
    out = io.BytesIO()
    made = make(blob_of(new), [blob_of(each) for each in old], out, scratch=lambda: files.scratch(folder), most=1 << 40)
    assert made
    return out.getvalue()


def rebuilt_of(patch: bytes, *old: bytes, folder: Path, room: int = 1 << 40, anyway: bytes | None = None) -> bytes:
    """`anyway` is given for whatever is asked for."""
    known: Mapping[Digest, Bytes] = {Digest.of(each): of_bytes(each) for each in old}
    with ExitStack() as stack:
        _, pieces = rebuilt(
            of_bytes(patch),
            lambda digest, _: known[digest] if anyway is None else of_bytes(anyway),
            stack,
            scratch=lambda: files.scratch(folder),
            room=room,
        )
        return b"".join(pieces)
