import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from bundler.archive import oci
from bundler.archive.contents import DEB_TYPE, FILE_TYPE, WHEEL_TYPE, contents_of, is_config
from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedFile
from bundler.model.statement import Artifact, DebArtifact, FileArtifact, WheelArtifact
from tests import strategies
from tests.bundles import Blobs, tiny_bundle
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
    artifacts: tuple[Artifact, ...] = (*contents.images, *contents.wheels, *contents.debs, *contents.files)
    assert {digest for artifact in artifacts for digest in artifact.members} <= sizes.keys()
    wanted = {each.digest for group in (lock.wheels, lock.debs, lock.files) for each in group}
    assert wanted <= sizes.keys()


@strategies.fewer(4)
@given(strategies.locks)
def test_index(lock: Lock) -> None:
    contents = contents_of(lock)
    entries = json.loads(contents.index)["manifests"]
    named = [entry for entry in entries if "annotations" in entry]
    nested = [entry for entry in entries if "annotations" not in entry]
    assert entries == [*named, *nested]
    assert [entry["annotations"] for entry in named] == [{oci.REF_NAME: image.name} for image in contents.images]
    others: list[WheelArtifact | DebArtifact | FileArtifact] = [*contents.wheels, *contents.debs, *contents.files]
    assert len(nested) == bool(others)
    if others:  # the nested index has no name: containerd 1.6 would try to unpack what it holds
        inner = contents.ready[Digest.parse(nested[0]["digest"])]
        assert len(inner) == nested[0]["size"]
        types = (
            [WHEEL_TYPE] * len(contents.wheels) + [DEB_TYPE] * len(contents.debs) + [FILE_TYPE] * len(contents.files)
        )
        listed = json.loads(inner)["manifests"]
        assert [(each["digest"], each["artifactType"]) for each in listed] == [
            (str(artifact.manifest), kind) for artifact, kind in zip(others, types, strict=True)
        ]
        for each, artifact in zip(listed, others, strict=True):
            manifest = json.loads(contents.ready[artifact.manifest])
            assert each["mediaType"] == manifest["mediaType"] == oci.MANIFEST_TYPE
            assert each["size"] == len(contents.ready[artifact.manifest])
            assert manifest["artifactType"] == each["artifactType"]
            assert manifest["config"]["digest"] == str(artifact.members[1])
            (layer,) = manifest["layers"]
            assert layer["annotations"] == {oci.TITLE: artifact.name}
            assert layer["digest"] == str(artifact.digest)


def test_documents_come_before_payloads(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    contents = contents_of(bundle.lock)
    payloads = {each.digest for group in (bundle.lock.wheels, bundle.lock.debs, bundle.lock.files) for each in group}
    payloads |= {blob.digest for image in bundle.lock.images for blob in image.blobs if not is_config(blob.media_type)}
    kinds = [blob.digest in payloads for blob in contents.blobs]
    assert kinds == sorted(kinds)
    assert set(kinds) == {True, False}
    documents = [blob.digest for blob in contents.blobs if blob.digest not in payloads]
    assert documents == sorted(documents)


def only_files(lock: Lock, *files: LockedFile) -> Lock:
    return replace(lock, images=(), wheels=(), debs=(), files=files)


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
    contents = contents_of(only_files(tiny_bundle(tmp_path).lock))
    assert contents.blobs == ()
    assert json.loads(contents.index)["manifests"] == []
