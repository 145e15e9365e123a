"""Manifests and indexes: what is read, and what is refused."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, Unsupported
from bundler.model.platform import Platform
from bundler.sources.registry_documents import Index, Manifest, parse_config, parse_document

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
CONFIG = {"mediaType": f"{OCI}.config.v1+json", "digest": "sha256:" + "a" * 64, "size": 7}
LAYER = {"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": "sha256:" + "b" * 64, "size": 9}
MANIFEST = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": CONFIG, "layers": [LAYER]}
CHILD = {"mediaType": f"{OCI}.manifest.v1+json", "digest": "sha256:" + "c" * 64, "size": 5}
INDEX = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [CHILD]}
SCHEMA2 = f"{DOCKER}.distribution.manifest.v2+json"
LIST = f"{DOCKER}.distribution.manifest.list.v2+json"


def parsed(document: object, declared: str = "") -> Manifest | Index:
    return parse_document(json.dumps(document).encode(), declared=declared)


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    "media_type",
    [
        f"{OCI}.layer.v1.tar",
        f"{OCI}.layer.v1.tar+gzip",
        f"{OCI}.layer.v1.tar+zstd",
        f"{DOCKER}.image.rootfs.diff.tar",
        f"{DOCKER}.image.rootfs.diff.tar.gzip",
        f"{DOCKER}.image.rootfs.diff.tar.zstd",
    ],
)
def test_layers(media_type):
    manifest = parsed({**MANIFEST, "layers": [{**LAYER, "mediaType": media_type}], "annotations": {"x": "1"}})
    assert isinstance(manifest, Manifest)
    assert [(each.descriptor.media_type, each.foreign) for each in manifest.layers] == [(media_type, False)]


@pytest.mark.parametrize(
    "layer",
    [
        {**LAYER, "mediaType": f"{OCI}.layer.nondistributable.v1.tar+gzip"},
        {**LAYER, "mediaType": f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip"},
        {**LAYER, "urls": ["https://example.com/layer"]},
    ],
)
def test_foreign_layers(layer):
    manifest = parsed({**MANIFEST, "layers": [layer]})
    assert isinstance(manifest, Manifest)
    assert manifest.layers[0].foreign


@pytest.mark.parametrize(
    ("document", "declared", "media_type"),
    [
        (MANIFEST, "", f"{OCI}.manifest.v1+json"),
        (MANIFEST, "application/json", f"{OCI}.manifest.v1+json"),
        (
            {**MANIFEST, "mediaType": SCHEMA2, "config": {**CONFIG, "mediaType": f"{DOCKER}.container.image.v1+json"}},
            SCHEMA2,
            SCHEMA2,
        ),
        (without(MANIFEST, "mediaType"), f"{OCI}.manifest.v1+json", f"{OCI}.manifest.v1+json"),
        (without(MANIFEST, "mediaType"), "", f"{OCI}.manifest.v1+json"),
        (INDEX, f"{OCI}.index.v1+json", f"{OCI}.index.v1+json"),
        (without(INDEX, "mediaType"), "text/plain", f"{OCI}.index.v1+json"),
        ({**INDEX, "mediaType": LIST}, LIST, LIST),
    ],
)
def test_the_media_type(document, declared, media_type):
    assert parsed(document, declared).media_type == media_type


def test_an_index_and_its_platforms():
    entries = [
        {**CHILD, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"}},
        CHILD,
        {**CHILD, "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    index = parsed({**INDEX, "manifests": entries})
    assert isinstance(index, Index)
    assert [each.platform for each in index.entries] == [Platform("linux", "arm64", "v8"), None]


MALFORMED = {
    "no json": b"{",
    "a list": b"[]",
    "twice": b'{"schemaVersion": 2, "schemaVersion": 2}',
    "too large": b" " * (4 << 20) + b"{}",
    "manifest and index": {**MANIFEST, "manifests": [CHILD]},
    "index and manifest": {**INDEX, "layers": [LAYER]},
    "index with config": {**INDEX, "config": CONFIG},
    "no version": without(MANIFEST, "schemaVersion"),
    "version 3": {**MANIFEST, "schemaVersion": 3},
    "version in words": {**MANIFEST, "schemaVersion": "2"},
    "no layers": without(MANIFEST, "layers"),
    "layers no list": {**MANIFEST, "layers": {}},
    "no config": without(MANIFEST, "config"),
    "128 layers": {**MANIFEST, "layers": [LAYER] * 128},
    "size in words": {**MANIFEST, "config": {**CONFIG, "size": "7"}},
    "size true": {**MANIFEST, "config": {**CONFIG, "size": True}},
    "size below 0": {**MANIFEST, "config": {**CONFIG, "size": -1}},
    "size too large": {**MANIFEST, "config": {**CONFIG, "size": 1 << 60}},
    "sha512": {**MANIFEST, "config": {**CONFIG, "digest": "sha512:" + "a" * 128}},
    "short digest": {**MANIFEST, "config": {**CONFIG, "digest": "sha256:abc"}},
    "upper-case digest": {**MANIFEST, "config": {**CONFIG, "digest": "sha256:" + "A" * 64}},
    "no media type": {**MANIFEST, "config": without(CONFIG, "mediaType")},
    "media type no text": {**MANIFEST, "mediaType": 5},
    "platform no object": {**INDEX, "manifests": [{**CHILD, "platform": "linux/amd64"}]},
    "platform without os": {**INDEX, "manifests": [{**CHILD, "platform": {"architecture": "amd64"}}]},
    "entry no object": {**INDEX, "manifests": ["x"]},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case):
    document = MALFORMED[case]
    with pytest.raises(Malformed):
        parse_document(document if isinstance(document, bytes) else json.dumps(document).encode(), declared="")


def test_another_type_than_declared():
    with pytest.raises(Malformed, match="media type"):
        parsed(MANIFEST, f"{OCI}.index.v1+json")
    with pytest.raises(Malformed):
        parsed(without(MANIFEST, "mediaType"), f"{OCI}.index.v1+json")


@pytest.mark.parametrize(
    ("document", "declared"),
    [
        ({"schemaVersion": 1, "name": "x", "fsLayers": []}, ""),
        ({"schemaVersion": 1}, f"{DOCKER}.distribution.manifest.v1+prettyjws"),
        ({**MANIFEST, "mediaType": f"{DOCKER}.distribution.manifest.v1+json"}, ""),
        ({**MANIFEST, "mediaType": "application/x-other"}, ""),
        ({**MANIFEST, "config": {**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}}, ""),
        ({**MANIFEST, "layers": [{**LAYER, "mediaType": f"{OCI}.layer.v1.tar+gzip+encrypted"}]}, ""),
        ({**MANIFEST, "layers": [{**LAYER, "mediaType": "application/vnd.in-toto+json"}]}, ""),
    ],
)
def test_what_is_no_image_is_refused_by_name(document, declared):
    with pytest.raises(Unsupported):
        parsed(document, declared)


def test_the_configurations_platform():
    assert parse_config(b'{"os":"linux","architecture":"arm","variant":"v7","x":[]}') == Platform("linux", "arm", "v7")
    for broken in (b"{}", b'{"os":"linux"}', b'{"os":1,"architecture":"arm"}', b"[]", b"\xff"):
        with pytest.raises(Malformed):
            parse_config(broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from([CONFIG, LAYER, CHILD, 2]),
    lambda child: (
        st.lists(child, max_size=3)
        | st.dictionaries(
            st.sampled_from([*MANIFEST, *INDEX, *LAYER, "platform", "os", "architecture"]), child, max_size=5
        )
    ),
    max_leaves=12,
)


@given(
    st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(["", SCHEMA2, LIST])
)
def test_every_document_is_a_value_or_an_error_of_ours(data, declared):
    with contextlib.suppress(Malformed, Unsupported):
        assert isinstance(parse_document(data, declared=declared), (Manifest, Index))


@given(st.dictionaries(st.sampled_from([*MANIFEST, *INDEX]), JSON), st.booleans())
def test_a_changed_document_is_a_value_or_an_error_of_ours(changes, index):
    with contextlib.suppress(Malformed, Unsupported):
        assert isinstance(parsed({**(INDEX if index else MANIFEST), **changes}), (Manifest, Index))
