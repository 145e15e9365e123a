"""Make images and push them to a registry: `random` ones, and one from a `rootfs` tar.

Used by the scripts beside it. Memory stays at a few MiB: layers are made, hashed and sent as they stream.
"""

import argparse
import gzip
import hashlib
import json
import os
import platform
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urljoin, urlsplit

import requests

CHUNK = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

Json = dict[str, Any]


def canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def describe(media_type: str, data: bytes) -> Json:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


class Registry:
    """The pushing half of the distribution API, as far as a plain registry on loopback needs it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()
        # A proxy that the environment names has no way to this machine's loopback.
        self.session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "::1", "localhost")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        response = self.session.request(method, urljoin(self.url + "/", path), timeout=300, **options)
        if response.status_code >= 400 and response.status_code != 404:
            raise SystemExit(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response

    def has(self, name: str, kind: str, reference: str) -> bool:
        accept = {"Accept": f"{MANIFEST}, {INDEX}"} if kind == "manifests" else {}
        return self.call("HEAD", f"v2/{name}/{kind}/{reference}", headers=accept).ok

    def stream(self, name: str, media_type: str, chunks: Iterator[bytes]) -> Json:
        """Send a blob whose digest is known only when all of it has been sent; its descriptor."""
        hasher, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                hasher.update(chunk)
                size += len(chunk)
                yield chunk

        place = self.call("POST", f"v2/{name}/blobs/uploads/").headers["Location"]
        headers = {"Content-Type": "application/octet-stream"}
        place = self.call("PATCH", place, data=counted(), headers=headers).headers["Location"]
        digest = "sha256:" + hasher.hexdigest()
        self.call("PUT", place, params={"digest": digest})
        return {"mediaType": media_type, "digest": digest, "size": size}

    def blob(self, name: str, media_type: str, data: bytes) -> Json:
        return self.stream(name, media_type, iter([data]))

    def manifest(self, name: str, reference: str, value: Json) -> Json:
        data = canonical(value)
        descriptor = describe(value["mediaType"], data)
        target = f"v2/{name}/manifests/{reference or descriptor['digest']}"
        self.call("PUT", target, data=data, headers={"Content-Type": value["mediaType"]})
        return descriptor


def image_config(diff_ids: list[str], *, architecture: str = ARCHITECTURE, **config: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    return canonical({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs})


def image_manifest(config: Json, layers: list[Json], annotations: dict[str, str]) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": layers,
        "annotations": annotations,
    }


# --- random images


def random_layer(member: str, size: int, seed: str) -> Iterator[bytes]:
    """A tar of one file of random bytes: nothing to compress, so that only moving and hashing count."""
    source = random.Random(seed)
    entry = tarfile.TarInfo(member)
    entry.size = size
    yield entry.tobuf(tarfile.PAX_FORMAT)
    for start in range(0, size, CHUNK):
        yield source.randbytes(min(CHUNK, size - start))
    yield bytes(-size % 512 + 1024)


def push_random(registry: Registry, name: str, blobs: int, size: int, seed: str) -> str:
    recipe = f"{seed}/{blobs}x{size}"
    found = registry.call("GET", f"v2/{name}/manifests/1", headers={"Accept": MANIFEST})
    if found.ok and found.json()["annotations"].get("recipe") == recipe:
        return found.headers["Docker-Content-Digest"]
    layers = [
        registry.stream(name, LAYER, random_layer(f"layer-{number}", size, f"{seed}/{number}"))
        for number in range(blobs)
    ]
    config = registry.blob(name, CONFIG, image_config([layer["digest"] for layer in layers]))
    return cast(str, registry.manifest(name, "1", image_manifest(config, layers, {"recipe": recipe}))["digest"])


# --- one image from a root file system


def compress(source: Path, target: Path) -> None:
    """Gzip without name or time in the header; renamed into place when whole."""
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    with (
        source.open("rb") as plain,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, cast(BinaryIO, packed), CHUNK)
    partial.rename(target)


def packed_rootfs(rootfs: Path, cache: Path) -> Path:
    """The tar of a root, compressed; made once."""
    packed = cache / f"{rootfs.stem}.tar.gz"
    if not packed.exists():
        compress(rootfs, packed)
    return packed


def push_rootfs(registry: Registry, name: str, tag: str, rootfs: Path, cache: Path) -> str:
    packed = packed_rootfs(rootfs, cache)
    with rootfs.open("rb") as plain:
        diff_id = "sha256:" + hashlib.file_digest(plain, "sha256").hexdigest()
    with packed.open("rb") as stream:
        digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    layer = {"mediaType": LAYER + "+gzip", "digest": digest, "size": packed.stat().st_size}
    if not registry.has(name, "blobs", digest):
        with packed.open("rb") as stream:
            registry.stream(name, LAYER + "+gzip", iter(lambda: stream.read(CHUNK), b""))
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = registry.blob(name, CONFIG, image_config([diff_id], Env=[path], Cmd=["bash"]))
    image = registry.manifest(name, "", image_manifest(config, [layer], {}))
    # An index, even of one: that is what a tag of an official image leads to.
    child = {**image, "platform": {"architecture": ARCHITECTURE, "os": "linux"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
    return cast(str, registry.manifest(name, tag, index)["digest"])


# --- command line


def byte_count(text: str) -> int:
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    return int(text.rstrip("kKmMgG")) * factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    many = verbs.add_parser("random")
    many.add_argument("count", type=int)
    many.add_argument("--blobs", type=int, default=5)
    many.add_argument("--bytes", type=byte_count, default=20 << 20, metavar="SIZE")
    many.add_argument("--seed", default="1")
    many.add_argument("--prefix", default="random/")
    one = verbs.add_parser("rootfs")
    one.add_argument("tar", type=Path)
    one.add_argument("--name", required=True, metavar="NAME:TAG")
    one.add_argument("--cache", type=Path, required=True)
    for verb in (many, one):
        verb.add_argument("--registry", required=True, type=Registry, metavar="URL")
    options = parser.parse_args()

    if options.verb == "random":
        for number in range(options.count):
            name = f"{options.prefix}image-{number:02}"
            seed = f"{options.seed}/{number}"
            digest = push_random(options.registry, name, options.blobs, options.bytes, seed)
            print(f"{name}:1 {digest}", flush=True)
    else:
        name, tag = options.name.rsplit(":", 1)
        print(f"{name}:{tag} {push_rootfs(options.registry, name, tag, options.tar, options.cache)}")


if __name__ == "__main__":
    main()
