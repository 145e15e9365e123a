"""Images that hosts have before a pod wants them (`components.kubernetes.prefetch`): those of many GB, for which a pod
would otherwise wait. One action an image and host is the view of how far it is.

What is cut off goes on: containerd keeps the layers that it has. The kubelet throws none of them away (pinned) until
they are no longer among those to be fetched.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from bundler.components.kubernetes.pki import WORKER
from bundler.components.kubernetes.runtime import PULL
from bundler.components.kubernetes.settings import settings_of
from bundler.model.lock import LockedImage
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, Facts, HostFacts
from bundler.steps.step import Check, Finding, Goal, Space

RUNTIME_STEP = "kubernetes/runtime"
_OURS, _PINNED = "bundle.prefetched", "io.cri-containerd.pinned"
_SLOWEST = 4_000_000  # bytes a second: what comes slower than that does not come
_UNPACKED = 3  # times its size is what an image and its layers take, unpacked


def _read(said: str) -> Mapping[str, str]:
    words = (line.split() for line in said.splitlines() if line.strip())
    return {name: digest for name, _, digest, *_ in words}


# Those that are whole, and pinned by us: name and digest.
FETCHED: Ask[Mapping[str, str]] = Ask(
    name="images that were fetched beforehand",
    after=RUNTIME_STEP,
    script=f"""ctr -n k8s.io images ls 'labels."{_OURS}"==yes' | tail -n +2""",
    reading=_read,
    bare={},
)


def prefetched(goal: Goal) -> tuple[LockedImage, ...]:
    """Those of the release that the site's patterns name, the largest first."""
    patterns = settings_of(goal).prefetch
    chosen = (image for image in goal.lock.images if any(fnmatchcase(image.name, pattern) for pattern in patterns))
    return tuple(sorted(chosen, key=lambda image: (-size_of(image), image.name)))


def size_of(image: LockedImage) -> int:
    return sum({blob.digest: blob.size for blob in image.blobs}.values())


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A host has the images, and no others of ours."""

    images: tuple[LockedImage, ...] = field(repr=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (FETCHED,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[FETCHED]
        for image in self.images:
            if have.get(image.name) != str(image.root.digest):
                size = size_of(image)
                yield Run(
                    name=f"fetch {image.name} ({size / 1e6:.0f} MB)",
                    text=_fetch(image),
                    timeout=300 + size / _SLOWEST,
                    reason="pods will want it",
                )
        yield from _let_go(sorted(have.keys() - {image.name for image in self.images}), "it is none to be fetched")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[FETCHED]
        yield from _let_go(sorted(have), "its component goes")


def _fetch(image: LockedImage) -> str:
    """The label comes last, and says that all of it is there. What the kubelet pulled meanwhile is not pulled again."""
    name, digest = shlex.quote(image.name), image.root.digest
    return f"""{PULL} {name} >/dev/null || exit 1
found=$(ctr -n k8s.io images ls name=={name} | sed 1d | while read -r name type digest rest; do echo "$digest"; done)
[ "$found" = {digest} ] || {{ echo "{image.name} is $found at the registry, not {digest}" >&2; exit 1; }}
ctr -n k8s.io images label {name} {_PINNED}=pinned {_OURS}=yes >/dev/null
"""


def _let_go(names: Sequence[str], reason: str) -> Iterator[Action]:
    """The kubelet may throw them away from here on, when it needs the room."""
    for name in names:
        text = f"ctr -n k8s.io images label {shlex.quote(name)} {_PINNED}= {_OURS}= >/dev/null\n"
        yield Run(name=f"let go of {name}", text=text, reason=reason)


def space(goal: Goal, host: SiteHost) -> Iterator[Space]:
    if host.has(WORKER) and (images := prefetched(goal)):
        size = _UNPACKED * sum(map(size_of, images))
        yield Space(path="/var/lib/containerd", size=size, inodes=20_000 * len(images), why="images fetched beforehand")


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for pattern in settings_of(goal).prefetch:
        if not any(fnmatchcase(image.name, pattern) for image in goal.lock.images):
            found = f"components.kubernetes.prefetch names {pattern}: the release has no such image"
            fix = "Name images as the release does (`bundle inspect`), `*` for any signs."
            yield Finding(host="", check=CHECK.name, found=found, fix=fix)


CHECK = Check(name="kubernetes: images to be fetched", asks=lambda goal, host: (), judge=_judge)
