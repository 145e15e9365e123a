"""`create` with mirrors: the same bytes whatever they do, and from the registry only what they do not give."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.model.digest import Digest
from bundler.model.lock_text import write_lock
from bundler.support import files
from bundler.support.progress import Silent
from bundler.transport import Upstreams
from bundler.workflows import create as module
from bundler.workflows.create import Created, create
from bundler.workflows.places import Places
from tests.bundles import ALICE, SOURCES, Blobs, bare_lock
from tests.content import MadeImage, make_image
from tests.hostile_server import Answer, HostileServer, ok, ranged, raw, status

NAME = "reg.example/team/app:1"
IMAGE = make_image({"big": bytes(range(256)) * 16_000})  # a layer of 4 MiB
LAYER = IMAGE.blobs[1]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool of two files, and no power cuts."""
    monkeypatch.setattr(module, "tool_sources", lambda: SOURCES)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass
class Notes(Silent):
    said: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.said.append(text)


def serve(server: HostileServer, image: MadeImage, layer: Callable[[bytes], tuple[Answer, ...]] | None = None) -> None:
    for data in image.manifests:
        server.on(f"/v2/team/app/manifests/{Digest.of(data)}", ok(data))
    for data in image.blobs:
        answers = layer(data) if layer is not None and data == LAYER else (ranged(data),)
        server.on(f"/v2/team/app/blobs/{Digest.of(data)}", *answers)


def run(folder: Path, own: HostileServer, *mirrors: HostileServer) -> tuple[Created, bytes, list[str]]:
    lock = bare_lock(images=(Blobs().image(NAME, IMAGE),))
    (folder / "lock").write_text(write_lock(lock))
    upstreams = Upstreams.parse([f"reg.example={own.url}"], [f"reg.example={each.url}" for each in mirrors])
    places, notes = Places(manifests=Manifests(folders=()), upstreams=upstreams), Notes()
    out = folder / f"{len(list(folder.iterdir()))}.bundle"
    done = create(folder / "lock", out, keys=[ALICE], places=places, jobs=1, progress=notes)
    return done, out.read_bytes(), [note for note in notes.said if "mirror" in note]


def layer_requests(server: HostileServer) -> list[str]:
    return [each.headers.get("range", "all") for each in server.seen_at(f"/v2/team/app/blobs/{Digest.of(LAYER)}")]


def test_what_a_mirror_has_is_not_asked_of_the_registry(
    server: HostileServer, other: HostileServer, tmp_path: Path
) -> None:
    serve(other, IMAGE)
    done, _, notes = run(tmp_path, server, other)
    assert (server.seen, notes) == ([], [])
    assert done.received == sum(map(len, (*IMAGE.manifests, *IMAGE.blobs)))


WRONG = bytes(len(LAYER))
MIRRORS: dict[str, tuple[Callable[[bytes], tuple[Answer, ...]], list[str], int]] = {
    # What the mirror does with the layer, how the registry is asked for it then, and how many notes there are.
    "lacks it": (lambda data: (status(404),), ["all"], 0),
    "is broken": (lambda data: (status(500),), ["all"], 1),
    "sends other bytes": (lambda data: (ok(WRONG),), ["all"], 1),
    "sends another size": (lambda data: (ok(data[:-1]),), ["all"], 1),
    "dies in the middle": (
        lambda data: (ranged(data, cut=3 << 20), raw(reset=True)),
        [f"bytes={3 << 20}-"],
        1,
    ),
    "sends other bytes and dies": (
        lambda data: (ranged(WRONG, cut=3 << 20), raw(reset=True)),
        [f"bytes={3 << 20}-", "all"],
        1,
    ),
}


@pytest.mark.parametrize("case", MIRRORS)
def test_what_a_mirror_does_not_give_comes_from_the_registry(
    server: HostileServer, other: HostileServer, tmp_path: Path, case: str
) -> None:
    behaviour, asked, count = MIRRORS[case]
    serve(server, IMAGE)
    _, wanted, _ = run(tmp_path, server)
    server.seen.clear()
    serve(other, IMAGE, behaviour)
    _, found, notes = run(tmp_path, server, other)
    assert found == wanted
    assert layer_requests(server) == asked
    assert len(notes) == count
    assert all(other.url in note for note in notes)
