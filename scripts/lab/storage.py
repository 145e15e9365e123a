"""Write images straight into a folder that a registry serves: the storage layout of `distribution`."""

import hashlib
import os
from pathlib import Path
from typing import Any

from scripts.lab.common import digest_of
from scripts.lab.images import canonical, describe

Json = dict[str, Any]


class Storage:
    """The storage of a registry, its root directory `folder`; `name` is always that of a repository."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "docker/registry/v2"

    def blob(self, name: str, media_type: str, data: bytes) -> Json:
        descriptor = describe(media_type, data)
        path = self._place(descriptor["digest"])
        if not path.exists():
            path.write_bytes(data)
        self._link(f"{name}/_layers", descriptor["digest"])
        return descriptor

    def file(self, name: str, media_type: str, source: Path) -> Json:
        """The bytes of a file on the same file system, which is not to change from now on."""
        digest = f"sha256:{digest_of(source)}"
        path = self._place(digest)
        if not path.exists():
            os.link(source, path)
        self._link(f"{name}/_layers", digest)
        return {"mediaType": media_type, "digest": digest, "size": source.stat().st_size}

    def manifest(self, name: str, value: Json, tag: str = "") -> Json:
        data = canonical(value)
        descriptor = {**describe(value["mediaType"], data)}
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._place(digest).write_bytes(data)
        self._link(f"{name}/_manifests/revisions", digest)
        if tag:
            tags = self.root / "repositories" / name / "_manifests/tags" / tag
            self._link(f"{name}/_manifests/tags/{tag}/index", digest)
            (tags / "current").mkdir(exist_ok=True)
            (tags / "current/link").write_text(digest)
        return descriptor

    def _place(self, digest: str) -> Path:
        _, encoded = digest.split(":")
        path = self.root / "blobs/sha256" / encoded[:2] / encoded / "data"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _link(self, where: str, digest: str) -> None:
        link = self.root / "repositories" / where / digest.replace(":", "/") / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(digest)
