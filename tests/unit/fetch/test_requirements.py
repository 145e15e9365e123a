"""What a lock says that a wheel requires is what the wheel says itself, or there is no bundle."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import WrongBytes
from bundler.model.lock import Lock
from bundler.model.lock_text import write_lock
from bundler.sources.index import PackageIndex
from bundler.sources.wheels import resolve_wheels
from bundler.support import files
from bundler.support.progress import Silent
from bundler.transport import Transport, Upstreams
from bundler.workflows import create as module
from bundler.workflows.create import create
from bundler.workflows.places import Places
from tests.bundles import ALICE, SOURCES, bare_lock
from tests.hostile_server import HostileServer
from tests.upstreams import TinyIndex


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyIndex]:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setattr(module, "tool_sources", lambda: SOURCES)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with HostileServer() as server:
        yield TinyIndex(server=server)


def create_from(index: TinyIndex, lock: Lock, folder: Path) -> None:
    (folder / "lock").write_text(write_lock(lock))
    places = Places(manifests=Manifests(folders=()), upstreams=Upstreams.parse([f"pypi={index.url}"]))
    create(folder / "lock", folder / "o.bundle", keys=(ALICE,), places=places, jobs=2, progress=Silent())


def test_a_lock_that_hides_a_requirement_makes_no_bundle(index: TinyIndex, tmp_path: Path) -> None:
    index.wheel("app", requires=["lib"], requires_python=">=3.8")
    index.wheel("lib")
    found = resolve_wheels(
        ["app"],
        pythons=["3.11"],
        glibc="manylinux_2_36",
        architecture="amd64",
        index=PackageIndex(Transport(), Upstreams.parse([f"pypi={index.url}"])),
    )
    lock = bare_lock(wheels=found.entries)
    create_from(index, lock, tmp_path)
    hidden = tuple(replace(wheel, requires=wheel.requires[:1]) for wheel in found.entries if wheel.project == "app")
    (tmp_path / "o.bundle").unlink()
    with pytest.raises(WrongBytes, match="the requirements that the lock names"):
        create_from(index, bare_lock(wheels=hidden), tmp_path)
    assert not (tmp_path / "o.bundle").exists()
