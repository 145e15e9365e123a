"""Where a walk over a document stands, and what the way there says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bundler.closure.use import Found, Place
from bundler.closure.words import says_image, says_images, words_of

_WORKLOADS = re.compile(
    r"v1/(?:Pod|PodTemplate|ReplicationController)|apps/\w+/(?:Deployment|StatefulSet|DaemonSet|ReplicaSet)"
    r"|batch/\w+/(?:Job|CronJob)|extensions/\w+/(?:Deployment|DaemonSet|ReplicaSet)"
)
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where the walk stands. `under`: so many levels more are the value of a key that says image; `off`: inside a
    mapping that says `enabled: false`."""

    place: Place
    found: Found = Found.FIELD
    workload: bool = False
    secret: bool = False
    off: bool = False
    under: int = 0
    depth: int = 0

    def down(self, key: str, *, found: Found | None = None) -> "At":
        step = f".{key}" if _PLAIN.fullmatch(key) else f'["{key[:80]}"]'
        words = words_of(key)
        under = (2 if says_images(words) else 1) if says_image(words) else max(self.under - 1, 0)
        return self._at(step, under=under, found=found)

    def item(self, number: int) -> "At":
        return self._at(f"[{number}]", under=self.under, found=None)

    def line(self, number: int) -> "At":
        return self._at(f" line {number}", under=0, found=None)

    def _at(self, step: str, *, under: int, found: Found | None) -> "At":
        place = replace(self.place, path=(self.place.path + step).removeprefix("."))
        kept = self.found if found is None or self.found is not Found.FIELD else found  # the outermost wins
        return replace(self, place=place, under=under, found=kept, depth=self.depth + 1)

    def object(self, node: Mapping[str, Any]) -> "At":
        """Here begins a Kubernetes object; the object around an embedded one stays the one that is named."""
        kind, version, metadata = node.get("kind"), node.get("apiVersion"), node.get("metadata")
        if not isinstance(kind, str) or not isinstance(version, str):
            return self
        secret = self.secret or (kind == "Secret" and version == "v1")
        if self.found is not Found.FIELD or kind.endswith("List"):
            return replace(self, secret=secret)
        metadata = metadata if isinstance(metadata, dict) else {}
        names = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
        place = replace(self.place, object=f"{kind} {names}".strip()[:300], path="")
        workload = _WORKLOADS.fullmatch(f"{version}/{kind}") is not None
        return replace(self, place=place, workload=workload, secret=secret)
