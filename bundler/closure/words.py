"""What the keys of a mapping say: this is an image, or one part of an image that is written in parts."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_IMAGE = re.compile(r"[a-z]*(?:image|images)|img")
_AFTER = frozenset(("name", "ref", "reference", "url", "uri"))
_PICTURES = re.compile(
    r"avatar|background|banner|boot|cloud|cover|disk|favicon|hero|icon|iso|kernel|logo|machine|os|profile|thumbnail|vm"
)
_NOISE = frozenset(("image", "images", "container", "docker", "base", "default"))
_PARTS = {
    "registry": "registry",
    "hub": "registry",
    "repository": "repository",
    "repo": "repository",
    "tag": "tag",
    "version": "version",
    "digest": "digest",
    "sha": "digest",
}
_ORDER = ("name", "repository", "registry", "tag", "version", "digest")
_SECOND = {"name": "name"}  # parts only where the key or its parent says image


def words_of(key: str) -> tuple[str, ...]:
    """`sidecar.example.com/proxyImage` -> proxy, image; `RELATED_IMAGE_X` -> related, image, x."""
    return tuple(word.lower() for word in _WORD.findall(key[:256].rpartition("/")[2]) if not word.isdigit())


def says_image(words: tuple[str, ...]) -> bool:
    """`image`, `sidecarImage`, `imageName`, `PAUSE_IMAGE`, `images`; not `backgroundImage`, `imagePullPolicy`."""
    if len(words) > 1 and words[-1] in _AFTER:
        words = words[:-1]
    return bool(words) and _IMAGE.fullmatch(words[-1]) is not None and not any(map(_PICTURES.fullmatch, words[-2:-1]))


def mentions_image(words: tuple[str, ...]) -> bool:
    """`RELATED_IMAGE_PROXY`, `imageProxy`: the word is there, but something else comes last."""
    return "image" in words[:-1] and words[-1] not in _PARTS and not {"pull", "policy", "secret"}.intersection(words)


def says_images(words: tuple[str, ...]) -> bool:
    return says_image(words) and words[-1].endswith("images")


def is_part(words: tuple[str, ...]) -> bool:
    """`registry`, `repository`, `tag` and their like."""
    return _part(words, image=False)[0] not in (None, "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An image written in parts: its text, the keys it was made of, and whether one of them (or the parent) says so.

    `base` is the text without tag and digest; `partial`: there is none of both, so that something else will choose it.
    """

    base: str
    text: str
    keys: tuple[str, ...]
    says: bool
    partial: bool


def joined(pairs: Mapping[str, str], *, under_image: bool) -> Iterator[Joined]:
    """The images that a mapping writes in parts: `{registry, repository, tag}`, `WORKER_IMAGE_REPO` + `…_TAG`,
    `{repository, image, version}`; parts belong together when the rest of their names is the same."""
    groups: defaultdict[tuple[str, ...], _Group] = defaultdict(lambda: _Group(says=under_image))
    for key, text in pairs.items():
        words = words_of(key)
        image = not {"image", "images"}.isdisjoint(words)
        part, stem = _part(words, image=image or under_image)
        if text and part:
            groups[stem].take(part, key, text, first=words[-1] == "image" or "new" in words)
            groups[stem].says |= image
    for group in groups.values():
        made = group.join(under_image=under_image)
        if made:
            yield made


def _part(words: tuple[str, ...], *, image: bool) -> tuple[str | None, tuple[str, ...]]:
    """Which part of an image a key holds, if any, and the rest of its name. `image`: the key or its parent says so."""
    stem = tuple(word for word in words if word not in _NOISE)
    if says_image(words) and words[-1] not in _AFTER:
        return "name", stem
    if not stem:
        return None, stem
    part = _PARTS.get(stem[-1]) or (_SECOND.get(stem[-1]) if image else None)
    return part, tuple(word for word in stem[:-1] if word != "new")


class _Group:
    """The parts of one image: what each holds, and all keys that hold one."""

    def __init__(self, *, says: bool) -> None:
        self.says = says
        self.parts: dict[str, str] = {}
        self.keys: dict[str, str] = {}  # key: its part

    def take(self, part: str, key: str, text: str, *, first: bool) -> None:
        """Add a part. Of several for the same one, `image` and kustomize's `newName` come first."""
        text = text.strip().strip("/")
        if "://" in text:
            return
        if part in self.parts and not first:
            return
        if part == "name" and ("@" in text or ":" in text.rpartition("/")[2]):
            return  # whole by itself
        self.keys = {key: part, **self.keys}
        self.parts[part] = text

    def join(self, *, under_image: bool) -> Joined | None:
        """`registry/repository/name:tag@digest` of the parts that are there, or None where they make no image."""
        parts = dict(self.parts)
        name = parts.get("name", "")
        if "." in name.partition("/")[0] and "/" in name:  # it has its registry
            parts = {part: text for part, text in parts.items() if part not in ("registry", "repository")}
        tag, digest = parts.get("tag") or parts.get("version", ""), parts.get("digest", "")
        if tag.startswith("sha256:"):
            tag, digest = "", digest or tag
        path = [part for part in ("registry", "repository", "name") if parts.get(part)]
        if path in ([], ["registry"]):
            return None
        if not tag and not digest and len(path) == 1 and not (under_image and path == ["repository"]):
            return None
        base = ""
        for part in path:
            base = f"{base}/{parts[part]}" if base and not parts[part].startswith(f"{base}/") else parts[part]
        digest = digest if not digest or digest.startswith("sha256:") else f"sha256:{digest}"
        return Joined(
            base=base,
            text=f"{base}{':' + tag if tag else ''}{'@' + digest if digest else ''}",
            keys=tuple(sorted(self.keys, key=lambda key: _ORDER.index(self.keys[key]))),
            says=self.says or ("repository" in path and not {"tag", "digest"}.isdisjoint(parts)),
            partial=not tag and not digest,
        )
