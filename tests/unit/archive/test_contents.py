import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from bundler.archive import oci
from bundler.archive.contents import DEB_TYPE, FILE_TYPE, LOCK_TYPE, WHEEL_TYPE, contents_of, is_config
from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedFile
from bundler.model.lock_text import write_lock
from bundler.model.statement import Artifact, ChartArtifact, DebArtifact, FileArtifact, WheelArtifact
from tests import strategies
from tests.bundles import Blobs, bare_lock, tiny_bundle
from tests.unit.model.test_lock import shuffled


@strategies.fewer(2)
@given(strategies.locks)
def test_contents(lock: Lock) -> None:
    contents = contents_of(lock)
    for seed in range(2):
        assert contents_of(shuffled(lock, seed)) == contents
    sizes = {blob.digest: blob.size for blob in contents.blobs}
    assert len(sizes) == len(contents.blobs)  # each blob once
    assert {digest: len(data) for digest, data in contents.ready.items()}.items() <= sizes.items()
    assert all(Digest.of(data) == digest for digest, data in contents.ready.items())
    artifacts: tuple[Artifact, ...] = (
        *contents.images,
        *contents.charts,
        *contents.wheels,
        *contents.debs,
        *contents.files,
    )
    assert {digest for artifact in artifacts for digest in artifact.members} <= sizes.keys()
    wanted = {each.digest for group in (lock.charts, lock.wheels, lock.debs, lock.files) for each in group}
    assert wanted <= sizes.keys()


@strategies.fewer(4)
@given(strategies.locks)
def test_index(lock: Lock) -> None:
    contents = contents_of(lock)
    entries = json.loads(contents.index)["manifests"]
    *named, nested = entries
    images = [image.name for image in contents.images if image.reference.about is None]
    assert [entry["annotations"] for entry in named] == [{oci.REF_NAME: name} for name in images]
    assert "annotations" not in nested  # with a name, containerd 1.6 would try to unpack what it holds
    inner = contents.ready[Digest.parse(nested["digest"])]
    assert len(inner) == nested["size"]
    first, *listed = json.loads(inner)["manifests"]
    assert first["artifactType"] == LOCK_TYPE
    manifest = json.loads(contents.ready[Digest.parse(first["digest"])])
    assert [layer["digest"] for layer in manifest["layers"]] == [str(contents.lock)]
    assert contents.ready[contents.lock] == write_lock(lock).encode()
    others: list[tuple[str, ChartArtifact | WheelArtifact | DebArtifact | FileArtifact]] = [
        *((oci.CHART_CONFIG_TYPE, each) for each in contents.charts),
        *((WHEEL_TYPE, each) for each in contents.wheels),
        *((DEB_TYPE, each) for each in contents.debs),
        *((FILE_TYPE, each) for each in contents.files),
    ]
    assert [(each["digest"], each.get("artifactType")) for each in listed[: len(others)]] == [
        (str(artifact.manifest), kind) for kind, artifact in others
    ]
    assert {each["digest"] for each in listed[len(others) :]} <= {
        str(digest) for image in contents.images for digest in image.manifests
    }
    for each, (kind, artifact) in zip(listed, others, strict=False):
        if artifact.manifest in contents.ready:  # a chart from a registry keeps that one's manifest
            _check_manifest(each, json.loads(contents.ready[artifact.manifest]), kind, artifact)


def _check_manifest(
    entry: dict[str, Any],
    manifest: dict[str, Any],
    kind: str,
    artifact: ChartArtifact | WheelArtifact | DebArtifact | FileArtifact,
) -> None:
    assert entry["mediaType"] == manifest["mediaType"] == oci.MANIFEST_TYPE
    assert manifest["config"]["digest"] == str(artifact.members[1])
    layer, *more = manifest["layers"]
    assert layer["digest"] == str(artifact.digest)
    if isinstance(artifact, ChartArtifact):  # as Helm writes it: the type is the config's
        assert manifest["config"]["mediaType"] == kind
        assert [each["digest"] for each in more] == list(map(str, artifact.provenance))
    else:
        assert manifest["artifactType"] == kind
        assert layer["annotations"] == {oci.TITLE: artifact.name}
        assert not more


def test_documents_come_before_payloads(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    contents = contents_of(bundle.lock)
    lock = bundle.lock
    payloads = {each.digest for group in (lock.charts, lock.wheels, lock.debs, lock.files) for each in group}
    payloads |= {blob.digest for image in bundle.lock.images for blob in image.blobs if not is_config(blob.media_type)}
    kinds = [blob.digest in payloads for blob in contents.blobs]
    assert kinds == sorted(kinds)
    assert set(kinds) == {True, False}
    documents = [blob.digest for blob in contents.blobs if blob.digest not in payloads]
    assert documents == sorted(documents)


def only_files(lock: Lock, *files: LockedFile) -> Lock:
    return replace(lock, images=(), charts=(), wheels=(), debs=(), files=files)


def test_a_file_that_is_another_files_manifest(tmp_path: Path) -> None:
    lock, blobs = tiny_bundle(tmp_path).lock, Blobs()
    second = blobs.file("second", b"second\n")
    first = contents_of(only_files(lock, second))
    manifest = first.ready[first.files[0].manifest]
    both = contents_of(only_files(lock, blobs.file("first", manifest), second))
    assert both.files[0].digest == both.files[1].manifest
    assert len({blob.digest for blob in both.blobs}) == len(both.blobs)


def test_one_digest_has_one_size(tmp_path: Path) -> None:
    lock, file = tiny_bundle(tmp_path).lock, Blobs().file("a", b"a")
    with pytest.raises(Malformed, match="with 1 and 2 bytes"):
        contents_of(only_files(lock, file, replace(file, name="b", size=2)))


def test_nothing_at_all(tmp_path: Path) -> None:
    """Then the lock is all there is: its text, its manifest, the empty config, the index."""
    lock = bare_lock()
    contents = contents_of(lock)
    assert contents.ready[contents.lock] == write_lock(lock).encode()
    assert len(contents.blobs) == len(contents.ready) == 4
    (nested,) = json.loads(contents.index)["manifests"]
    assert len(json.loads(contents.ready[Digest.parse(nested["digest"])])["manifests"]) == 1
