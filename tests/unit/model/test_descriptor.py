import pytest

from bundler.errors import Malformed
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest

DIGEST = Digest.of(b"")


@pytest.mark.parametrize("media_type", ["a/b", "application/vnd.oci.image.layer.v1.tar+zstd", "x/" + "y" * 127])
@pytest.mark.parametrize("size", [0, (1 << 53) - 1])
def test_taken(media_type: str, size: int) -> None:
    assert Descriptor(media_type=media_type, digest=DIGEST, size=size).size == size


@pytest.mark.parametrize(
    ("media_type", "size"),
    [
        ("", 0),
        ("text", 0),
        ("/plain", 0),
        ("text/", 0),
        ("text/plain; charset=utf-8", 0),
        ("text/plain\n", 0),
        ("x/" + "y" * 128, 0),
        ("a/b/c", 0),
        ("a/b", -1),
        ("a/b", 1 << 53),
    ],
)
def test_refused(media_type: str, size: int) -> None:
    with pytest.raises(Malformed):
        Descriptor(media_type=media_type, digest=DIGEST, size=size)
