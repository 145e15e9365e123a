"""Wrap what recipes name as images: each in the cache, in the storage layout of a registry, keyed by all it is made of.

An image is an index, as the tags of published images lead to one, with a child for each architecture its recipe has.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from scripts.lab.build import buildable, built
from scripts.lab.common import ARCHITECTURE, CACHE, LAB, Recipe, digest_of, filled, key_of, locked, run, say
from scripts.lab.images import CONFIG, INDEX, LAYER, MANIFEST, canonical, image_config, image_manifest, packed_rootfs
from scripts.lab.storage import Json, Storage
from scripts.lab.tars import write_tar

MADE_BY = 1  # raised when the same recipe gives other bytes
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
# The types of an artifact and of its one layer.
COSIGN = "application/vnd.dev.cosign"
REFERRERS = {
    "signature": (f"{COSIGN}.artifact.sig.v1+json", f"{COSIGN}.simplesigning.v1+json"),
    "sbom": ("application/spdx+json", "application/spdx+json"),
}


@cache
def roots() -> Mapping[str, Recipe]:
    return tomllib.loads((LAB / "roots.toml").read_text())


@cache
def rootfs(name: str) -> Path:
    root = roots()[name]
    return Path(run([LAB / "rootfs", "--variant", root["variant"], *root["packages"]]).splitlines()[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an image for one architecture is made of."""

    architecture: str
    programs: Path | None
    root: Path | None

    def names(self) -> list[str]:
        """Names in the cache, where a name is a key of the content."""
        return [self.architecture, *(path.name for path in (self.programs, self.root) if path)]


def wrapped(recipe_name: str, recipe: Recipe, reference: str) -> Path:
    """The root directory of a registry's storage that holds this image and nothing else. Raises CannotBuild."""
    image = recipe["images"][reference]
    root = rootfs(image["root"]) if "root" in image else None
    parts = [
        Part(architecture=each, programs=built(recipe_name, each) if buildable(recipe) else None, root=root)
        for each in recipe.get("architectures", [ARCHITECTURE])
    ]
    key = key_of(MADE_BY, image, [part.names() for part in parts])
    target = CACHE / "lab/images" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', reference)}-{key}"
    with locked(target.name):
        if not target.is_dir():
            say(f"image: {reference}")
            with filled(target) as scratch:
                push(Storage(scratch), reference, image, parts, scratch)
    return target


def push(storage: Storage, reference: str, image: Recipe, parts: list[Part], scratch: Path) -> None:
    name, tag = reference.rsplit(":", 1)
    children = []
    for part in parts:
        layers = list(layers_of(storage, name, image, part, scratch))
        config = image_config([diff_id for _, diff_id in layers], architecture=part.architecture, **settings(image))
        manifest = image_manifest(storage.blob(name, CONFIG, config), [layer for layer, _ in layers], {})
        platform = {"architecture": part.architecture, "os": "linux"}
        children.append({**storage.manifest(name, manifest), "platform": platform})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
    root = storage.manifest(name, index, tag)
    if kinds := image.get("referrers"):
        attach(storage, name, root, kinds)


def settings(image: Recipe) -> Json:
    """The container's part of the configuration, in the words of the image specification."""
    words = {"entrypoint": "Entrypoint", "command": "Cmd", "user": "User"}
    return {"Env": [PATH], **{words[name]: image[name] for name in words if name in image}}


def attach(storage: Storage, name: str, subject: Json, kinds: list[str]) -> None:
    """Artifacts that refer to an image, listed under the tag that stands in for the referrers API."""
    found = []
    for kind in kinds:
        artifact, media_type = REFERRERS[kind]
        about = canonical({"about": subject["digest"], "kind": kind, "madeBy": "the lab: a stand-in, proof of nothing"})
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact,
            "config": storage.blob(name, EMPTY_CONFIG, b"{}"),
            "layers": [storage.blob(name, media_type, about)],
            "subject": subject,
        }
        found.append({**storage.manifest(name, manifest), "artifactType": artifact})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
    storage.manifest(name, index, subject["digest"].replace(":", "-"))


# --- layers


def layers_of(storage: Storage, name: str, image: Recipe, part: Part, scratch: Path) -> Iterator[tuple[Json, str]]:
    """The descriptors of an image's layers with the digests of what they hold."""
    if part.root:
        with locked(part.root.stem):  # two images may share it
            packed = packed_rootfs(part.root, CACHE)
        yield storage.file(name, LAYER + "+gzip", packed), f"sha256:{digest_of(part.root)}"
    members = dict(members_of(image, part))
    if members:
        file = scratch / "layer"
        diff_id = write_tar(file, members)
        yield storage.file(name, LAYER + "+gzip", file), diff_id
        file.unlink()


def members_of(image: Recipe, part: Part) -> Iterator[tuple[PurePosixPath, Path | PurePosixPath | bytes]]:
    """Every file of the layer, by its path in it: what is on disk, and the recipe's short texts and links."""
    for target, source in image.get("files", {}).items():
        assert part.programs
        origin = part.programs / source
        inside = PurePosixPath(target).relative_to("/")
        if origin.is_dir():
            for path in origin.rglob("*"):
                if path.is_symlink() or not path.is_dir():
                    yield inside / path.relative_to(origin).as_posix(), path
        else:
            yield inside, origin
    for target, text in image.get("texts", {}).items():
        yield PurePosixPath(target).relative_to("/"), text.encode()
    for target, leads in image.get("links", {}).items():
        yield PurePosixPath(target).relative_to("/"), PurePosixPath(leads)
