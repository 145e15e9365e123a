"""The lock as text: sorted, one fact a line, equal text for equal locks. `bundler.model.lock` reads it back."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from bundler.model.descriptor import Descriptor
from bundler.model.lock import VERSION, Lock, LockedDeb, LockedFile, LockedImage, LockedWheel

# What YAML reads back as the same text without quotes; anything else is written as a JSON string.
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+~/:@%=-]*[A-Za-z0-9._+~/@%=-])?")

Lines = Iterator[str]


def write_lock(lock: Lock) -> str:
    return "\n".join(_lock(lock)) + "\n"


def _lock(lock: Lock) -> Lines:
    yield "# Written by `bundle lock`. Pins move only with --update; not to be edited by hand."
    yield f"lockVersion: {VERSION}"
    yield f"profile: {_scalar(lock.profile)}"
    yield "release:"
    yield f"  line: {_scalar(lock.release.line)}"
    yield f"  number: {lock.release.number}"
    yield f"platforms: {_flow(map(str, lock.platforms))}"
    yield "bootstrap:"
    yield f"  python: {_flow(lock.bootstrap.pythons)}"
    yield from _indent("  ", _listing("wheels", map(_wheel, sorted(lock.bootstrap.wheels, key=_name))))
    yield from _listing("images", map(_image, sorted(lock.images, key=_name)))
    yield from _listing("wheels", map(_wheel, sorted(lock.wheels, key=_name)))
    yield from _listing("debs", map(_deb, sorted(lock.debs, key=_deb_key)))
    yield from _listing("files", map(_file, sorted(lock.files, key=_name)))


def _name(entry: LockedImage | LockedWheel | LockedFile) -> str:
    return entry.name


def _deb_key(deb: LockedDeb) -> tuple[str, str, str]:
    return deb.archive, deb.release, deb.file


def _image(image: LockedImage) -> Lines:
    yield f"reference: {_scalar(image.name)}"
    yield "root:"
    yield from _indent("  ", _descriptor(image.root))
    yield from _listing("manifests", map(_descriptor, sorted(image.manifests)))
    yield from _listing("blobs", map(_descriptor, sorted(image.blobs)))


def _descriptor(descriptor: Descriptor) -> Lines:
    yield f"mediaType: {_scalar(descriptor.media_type)}"
    yield f"digest: {descriptor.digest}"
    yield f"size: {descriptor.size}"


def _wheel(wheel: LockedWheel) -> Lines:
    yield f"project: {_scalar(wheel.project)}"
    yield f"version: {_scalar(wheel.version)}"
    yield f"file: {_scalar(wheel.file)}"
    yield f"digest: {wheel.digest}"
    yield f"size: {wheel.size}"
    yield "metadata:"
    yield f"  digest: {wheel.metadata.digest}"
    yield f"  size: {wheel.metadata.size}"
    yield f"python: {_flow(wheel.pythons)}"


def _deb(deb: LockedDeb) -> Lines:
    yield f"package: {_scalar(deb.package)}"
    yield f"version: {_scalar(deb.version)}"
    yield f"architecture: {_scalar(deb.architecture)}"
    yield f"archive: {_scalar(deb.archive)}"
    yield f"suite: {_scalar(deb.suite)}"
    yield f"release: {_scalar(deb.release)}"
    yield f"path: {_scalar(deb.path)}"
    yield f"digest: {deb.digest}"
    yield f"size: {deb.size}"
    yield "control: |-"
    yield from (f"  {line}" for line in deb.control.split("\n"))


def _file(entry: LockedFile) -> Lines:
    yield f"name: {_scalar(entry.name)}"
    yield f"url: {_scalar(entry.url)}"
    yield f"digest: {entry.digest}"
    yield f"size: {entry.size}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _flow(texts: Iterable[str]) -> str:
    return f"[{', '.join(json.dumps(text) for text in texts)}]"


def _indent(margin: str, lines: Lines) -> Lines:
    return (f"{margin}{line}" for line in lines)


def _listing(key: str, entries: Iterable[Iterable[str]]) -> Lines:
    blocks: Sequence[Sequence[str]] = [list(entry) for entry in entries]
    if not blocks:
        yield f"{key}: []"
        return
    yield f"{key}:"
    for block in blocks:
        yield f"- {block[0]}"
        yield from (f"  {line}" for line in block[1:])
