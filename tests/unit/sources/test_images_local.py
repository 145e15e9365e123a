"""Archives and layouts on this machine, made to mislead."""

import contextlib
import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.catalog.manifests import Manifests
from bundler.errors import (
    BundleError,
    InvalidDocument,
    Malformed,
    NotFound,
    NotReadable,
    ResolutionFailed,
    TooLarge,
    Unsupported,
    WrongBytes,
)
from bundler.model.digest import Digest
from bundler.model.lock import LockedImage
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources import tar_index
from bundler.sources.docker_save import choose_saved, parse_saved
from bundler.sources.local_images import LocalImages
from bundler.sources.registry_documents import parse_artifact, parse_layout, parse_listing
from bundler.sources.tar_index import clean, index_tar
from tests.bundles import bare_lock
from tests.content import CONFIG, INDEX, LAYER, MANIFEST, compact, describe, make_tar

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
NAME = Reference.parse("reg.example/app:1")
LAYERS = (make_tar({"./one": b"1"}), make_tar({"./two": b"2"}))
Add = Callable[..., None]


def tar(fill: Callable[[Add], None], **options: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as archive:  # type: ignore[call-overload]

        def add(name: str, data: bytes = b"", *, link: str = "", kind: bytes = tarfile.REGTYPE) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.linkname, entry.type = len(data), link, kind
            archive.addfile(entry, io.BytesIO(data))

        fill(add)
    return out.getvalue()


def config(*layers: bytes, **more: object) -> bytes:
    diff_ids = [str(Digest.of(layer)) for layer in layers]
    return compact({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}, **more})


def saved(*, config: bytes = config(*LAYERS), layers: dict[str, bytes] | None = None, **entry: object) -> bytes:
    """A plain archive of two layers; `entry` is what its manifest.json has instead."""
    layers = dict(zip(("a/layer.tar", "b/layer.tar"), LAYERS, strict=True)) if layers is None else layers

    def fill(add: Add) -> None:
        for name, data in layers.items():
            add(name, data)
        add("c.json", config)
        add("manifest.json", compact([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": list(layers), **entry}]))

    return tar(fill)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def resolve(files: Path, source: str, *platforms: Platform, referrers: bool = False) -> LockedImage:
    local = LocalImages(Manifests(folders=(files.parent,)))
    return local.resolve(NAME, source, platforms or (AMD64,), referrers=referrers)


def test_what_is_synthesised(files: Path) -> None:
    (files / "a.tar").write_bytes(saved())
    image = resolve(files, "docker-archive:a.tar")
    value = json.loads(image.synthesised)
    assert image.root.digest == Digest.of(image.synthesised.encode())
    assert value["config"]["digest"] == str(Digest.of(config(*LAYERS)))
    assert [each["digest"] for each in value["layers"]] == [str(Digest.of(layer)) for layer in LAYERS]
    assert value["annotations"] == {"vnd.bundle.synthesised": "true"}
    local = LocalImages(Manifests(folders=(files.parent,)))
    for blob in image.blobs:
        part = local.find(image, blob)
        data = part.path.read_bytes()[part.offset : part.offset + part.size]
        assert Digest.of(data) == blob.digest


def test_the_lock_holds_it_and_refuses_another(files: Path) -> None:
    (files / "a.tar").write_bytes(saved())
    image = resolve(files, "docker-archive:a.tar")
    text = write_lock(bare_lock(images=(image,)))
    assert parse_lock(text, file="lock").images == (image,)
    other = image.synthesised.replace('"schemaVersion":2', '"schemaVersion":3')
    for wrong in (
        replace(image, synthesised=other),
        replace(image, source=""),
        replace(image, manifests=(image.root,)),
        replace(image, root=replace(image.root, size=1)),
    ):
        with pytest.raises(InvalidDocument, match="the synthesised manifest"):
            parse_lock(write_lock(bare_lock(images=(wrong,))), file="lock")


def test_packed_layers_keep_their_bytes(files: Path) -> None:
    packed = gzip.compress(LAYERS[0], mtime=0)
    (files / "a.tar").write_bytes(saved(config=config(LAYERS[0]), layers={"l": packed}))
    image = resolve(files, "docker-archive:a.tar")
    assert json.loads(image.synthesised)["layers"] == [describe(packed, f"{LAYER}+gzip")]


LINKS = {
    "symlink": ("../a/layer.tar", tarfile.SYMTYPE),
    "hard link": ("a/layer.tar", tarfile.LNKTYPE),
    "above the top": ("../../../../a/layer.tar", tarfile.SYMTYPE),
    "absolute": ("/a/layer.tar", tarfile.SYMTYPE),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_lead_to_members(files: Path, case: str) -> None:
    target, kind = LINKS[case]

    def fill(add: Add) -> None:
        add("a/layer.tar", LAYERS[0])
        add("b/layer.tar", link=target, kind=kind)
        add("c.json", config(LAYERS[0], LAYERS[0]))
        add("manifest.json", compact([{"Config": "c.json", "Layers": ["a/layer.tar", "b/layer.tar"]}]))

    (files / "a.tar").write_bytes(tar(fill))
    assert len(resolve(files, "docker-archive:a.tar").blobs) == 2


def test_nothing_outside_is_ever_read(files: Path) -> None:
    """Names and links that would lead out of the folder mean members, or nothing."""
    secret = files.parent / "secret"
    secret.write_bytes(LAYERS[0])
    for name in ("../secret", str(secret), f"../../..{secret}", "b/layer.tar"):

        def fill(add: Add, name: str = name) -> None:
            add("b/layer.tar", link=str(secret), kind=tarfile.SYMTYPE)
            add("c.json", config(LAYERS[0]))
            add("manifest.json", compact([{"Config": "c.json", "Layers": [name]}]))

        (files / "a.tar").write_bytes(tar(fill))
        with pytest.raises(InvalidDocument, match="no member"):
            resolve(files, "docker-archive:a.tar")
    with pytest.raises(Malformed, match="below"):
        resolve(files, "docker-archive:../secret")


def looped(add: Add) -> None:
    add("a", link="b", kind=tarfile.SYMTYPE)
    add("b", link="a", kind=tarfile.SYMTYPE)
    add("manifest.json", compact([{"Config": "a", "Layers": []}]))


def doubled(add: Add) -> None:
    add("manifest.json", b"[]")
    add("./manifest.json", compact([{"Config": "a", "Layers": []}]))


def huge_name(add: Add) -> None:
    add("x" * 200_000, b"")


BAD: dict[str, tuple[bytes, type[BundleError]]] = {
    "empty": (b"", Malformed),
    "text": (b"hello" * 1000, Malformed),
    "packed": (gzip.compress(saved()), Malformed),
    "cut in a layer": (saved()[:3000], Malformed),
    "no manifest.json": (make_tar({"./x": b"x"}), InvalidDocument),
    "no list": (tar(lambda add: add("manifest.json", b"{}")), InvalidDocument),
    "no JSON": (tar(lambda add: add("manifest.json", b"[")), InvalidDocument),
    "a list of lists": (tar(lambda add: add("manifest.json", b"[[]]")), InvalidDocument),
    "nothing in it": (tar(lambda add: add("manifest.json", b"[]")), ResolutionFailed),
    "a large manifest.json": (tar(lambda add: add("manifest.json", bytes(5 << 20))), TooLarge),
    "an absent configuration": (saved(Config="absent"), InvalidDocument),
    "a configuration that is none": (saved(config=b"[]"), InvalidDocument),
    "a number for a name": (saved(Config=7), InvalidDocument),
    "an absent layer": (saved(Layers=["a/layer.tar", "absent"]), InvalidDocument),
    "one layer too few": (saved(Layers=["a/layer.tar"]), InvalidDocument),
    "no rootfs": (saved(config=compact({"os": "linux", "architecture": "amd64"})), InvalidDocument),
    "another layer": (saved(Layers=["b/layer.tar", "a/layer.tar"]), WrongBytes),
    "another platform": (saved(config=config(*LAYERS, architecture="arm64")), ResolutionFailed),
    "a loop of links": (tar(looped), InvalidDocument),
    "a name twice": (tar(doubled), Malformed),
    "a name of 200 kB": (tar(huge_name, format=tarfile.GNU_FORMAT), Malformed),
    "a pax name of 200 kB": (tar(huge_name, format=tarfile.PAX_FORMAT), Malformed),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives(files: Path, case: str) -> None:
    data, error = BAD[case]
    (files / "a.tar").write_bytes(data)
    with pytest.raises(error) as caught:
        resolve(files, "docker-archive:a.tar")
    assert type(caught.value) is error


def test_two_platforms_of_an_archive_with_one(files: Path) -> None:
    (files / "a.tar").write_bytes(saved())
    with pytest.raises(ResolutionFailed, match="linux/arm64"):
        resolve(files, "docker-archive:a.tar", AMD64, ARM64)
    with pytest.raises(Unsupported, match="referrers"):
        resolve(files, "docker-archive:a.tar", referrers=True)


def test_too_many_members(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_index, "_MEMBERS", 3)
    (files / "a.tar").write_bytes(saved())
    with pytest.raises(Malformed, match="3 plain members"):
        index_tar(files / "a.tar")


def test_what_is_no_file(files: Path) -> None:
    os.mkfifo(files / "pipe")
    for source in ("docker-archive:pipe", "oci:pipe", "oci:absent"):
        with pytest.raises(NotReadable):
            resolve(files, source)


def test_one_of_several_images() -> None:
    images = parse_saved(
        compact([{"Config": "a", "RepoTags": ["app:1", "app:2"]}, {"Config": "b", "RepoTags": None}, {"Config": "c"}])
    )
    assert choose_saved(images, "docker.io/library/app:2", source="s").config == "a"
    for name in ("", "app:3"):
        with pytest.raises(ResolutionFailed, match="app:1, app:2"):
            choose_saved(images, name, source="s")


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("a/b", "a/b"), ("./a", "a"), ("/a", "a"), ("../../a", "a"), ("a/../../b", "b"), ("a//b", "a/b")],
)
def test_clean(name: str, cleaned: str) -> None:
    assert clean(name) == cleaned


def test_an_archive_that_changed(files: Path) -> None:
    (files / "a.tar").write_bytes(saved())
    image = resolve(files, "docker-archive:a.tar")
    other = (make_tar({"./one": b"1" * 50_000}), LAYERS[1])
    (files / "a.tar").write_bytes(
        saved(config=config(*other), layers=dict(zip(("x/layer.tar", "y/layer.tar"), other, strict=True)))
    )
    local = LocalImages(Manifests(folders=(files.parent,)))
    changed = next(each for each in image.blobs if each.digest == Digest.of(LAYERS[0]))
    with pytest.raises(NotFound) as caught:
        local.find(image, changed)
    assert caught.value.url == "docker-archive:a.tar"


# --- layouts --------------------------------------------------------------------------------------------------------


def layout(files: Path, *names: str, leave_out: str = "", other: str = "") -> dict[str, object]:
    """An image per name, all the same, in files/l; the descriptor of the image."""
    packed = gzip.compress(LAYERS[0], mtime=0)
    settings = config(LAYERS[0])
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(settings, CONFIG),
        "layers": [describe(packed, f"{LAYER}+gzip")],
    }
    manifest = compact(value)
    folder = files / "l/blobs/sha256"
    folder.mkdir(parents=True)
    for kind, data in (("layer", packed), ("config", settings), ("manifest", manifest)):
        if kind != leave_out:
            (folder / Digest.of(data).hex).write_bytes(data if kind != other else bytes(len(data)))
    root = describe(manifest, MANIFEST)
    entries = [{**root, "annotations": {"org.opencontainers.image.ref.name": name} if name else {}} for name in names]
    (files / "l/index.json").write_bytes(compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    return root


@pytest.mark.parametrize(
    ("names", "source", "found"),
    [
        ([""], "oci:l", True),
        (["1"], "oci:l", True),
        (["1", ""], "oci:l", True),
        (["1", "2"], "oci:l:2", True),
        (["reg.example/app:1"], "oci:l:reg.example/app:1", True),
        (["1"], "oci:l:2", False),
        ([], "oci:l", False),
    ],
)
def test_which_image_of_a_layout(files: Path, names: list[str], source: str, found: bool) -> None:
    root = layout(files, *names)
    if found:
        assert str(resolve(files, source).root.digest) == root["digest"]
    else:
        with pytest.raises(ResolutionFailed, match="it holds"):
            resolve(files, source)


@pytest.mark.parametrize("kind", ["layer", "config", "manifest"])
def test_a_layout_that_lacks_or_changed_something(files: Path, kind: str) -> None:
    layout(files, "1", leave_out=kind)
    with pytest.raises(ResolutionFailed, match="is absent"):
        resolve(files, "oci:l")


@pytest.mark.parametrize("kind", ["config", "manifest"])
def test_a_layout_with_other_bytes(files: Path, kind: str) -> None:
    layout(files, "1", other=kind)
    with pytest.raises(WrongBytes):
        resolve(files, "oci:l")


def test_a_folder_that_is_no_layout(files: Path) -> None:
    (files / "l").mkdir()
    with pytest.raises(ResolutionFailed, match=r"no index\.json"):
        resolve(files, "oci:l")


# --- anything at all ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["Config", "Layers", "RepoTags", "config", "layers", "subject", "manifests"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_documents_are_read_or_refused(value: object) -> None:
    data = json.dumps(value).encode()
    for read in (parse_saved, parse_listing, parse_layout, lambda each: parse_artifact(each, declared=MANIFEST)):
        with contextlib.suppress(Malformed, Unsupported):
            read(data)


@given(st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=12)), min_size=1, max_size=5))
def test_a_damaged_archive_is_read_or_refused(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(saved())
    for at, piece in changes:
        data[at * 4 : at * 4 + len(piece)] = piece
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "files").mkdir()
        (Path(folder) / "files/a.tar").write_bytes(data)
        with contextlib.suppress(BundleError):
            resolve(Path(folder) / "files", "docker-archive:a.tar")
