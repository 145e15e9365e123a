"""The image source against a real registry: Debian's docker-registry, with skopeo as the second opinion."""

import hashlib
import json
import platform
import subprocess

import pytest

from bundler.errors import NotFound, ResolutionFailed
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources.images import Registry
from bundler.transport import Transport, Upstreams
from bundler.transport.registry_credentials import Credentials
from tests.hostile_server import Bytes
from tests.lab import Upstream, require_program

HERE = Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])


@pytest.fixture(scope="module")
def images(empty_upstream: Upstream) -> dict[str, str]:
    return empty_upstream.add_random_images(2, blobs=3, size="300K", prefix="library/source-")


@pytest.fixture
def transport():
    made = Transport()
    yield made
    made.close()


@pytest.fixture
def registry(transport, empty_upstream):
    upstreams = Upstreams.parse([f"docker.io={empty_upstream.url}"])
    return Registry(transport=transport, upstreams=upstreams, credentials=Credentials())


def test_an_image_is_resolved_and_received_whole(images, registry, transport):
    for name, digest in images.items():
        reference = Reference.parse(name)
        image = registry.resolve(reference, [HERE])
        assert str(image.root.digest) == digest
        assert len(image.blobs) == 4
        before = transport.received
        for blob in image.blobs:
            sink = Bytes()
            transport.receive(registry.blob_request(reference, blob), size=blob.size, sink=sink)
            assert hashlib.sha256(sink.data).hexdigest() == blob.digest.hex
        assert transport.received - before == sum(blob.size for blob in image.blobs)


def test_a_blob_is_resumed(images, registry, transport):
    reference = Reference.parse(next(iter(images)))
    blob = max(registry.resolve(reference, [HERE]).blobs, key=lambda each: each.size)
    whole, resumed = Bytes(), Bytes()
    transport.receive(registry.blob_request(reference, blob), size=blob.size, sink=whole)
    resumed.data += whole.data[:100_001]
    before = transport.received
    transport.receive(registry.blob_request(reference, blob), size=blob.size, sink=resumed)
    assert resumed.data == whole.data
    assert transport.received - before == blob.size - 100_001


def test_pins_are_asked_for(images, registry):
    name, digest = next(iter(images.items()))
    reference = Reference.parse(name)
    root = registry.current(reference)
    assert str(root) == digest
    assert registry.still_there(reference, root)
    assert not registry.still_there(reference, type(root)("0" * 64))
    with pytest.raises(NotFound):
        registry.current(Reference.parse("library/no-such-image"))


def test_a_platform_that_is_not_there(images, registry):
    with pytest.raises(ResolutionFailed, match=str(HERE)):
        registry.resolve(Reference.parse(next(iter(images))), [Platform("linux", "riscv64")])


def test_skopeo_sees_the_same_image(images, registry, empty_upstream):
    skopeo = require_program("skopeo")
    name = next(iter(images))
    image = registry.resolve(Reference.parse(name), [HERE])
    source = f"docker://{empty_upstream.host}/{name}"
    seen = json.loads(subprocess.check_output([skopeo, "inspect", "--tls-verify=false", source]))
    assert seen["Digest"] == str(image.root.digest)
    assert set(seen["Layers"]) < {str(blob.digest) for blob in image.blobs}
