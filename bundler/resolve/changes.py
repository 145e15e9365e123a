"""What differs between two locks, in words."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from bundler.model.lock import Lock, LockedDeb

Pins = dict[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`before` or `after` is empty when the pin is new or dropped; both are versions, or digests of images."""

    kind: str
    name: str
    before: str
    after: str

    @property
    def reason(self) -> str:
        if not self.before:
            return "newly asked for, by the profile or by another pin"
        if not self.after:
            return "nothing asks for it any more"
        return "moved by --update" if self.before != self.after else "the same version, other targets or other bytes"

    @property
    def line(self) -> str:
        sign = "+" if not self.before else "-" if not self.after else "~"
        versions = " -> ".join(dict.fromkeys(version for version in (self.before, self.after) if version))
        return f"{sign} {self.kind} {self.name} {versions}"

    def __str__(self) -> str:
        return f"{self.line}  ({self.reason})"


def changes_between(before: Lock | None, after: Lock) -> tuple[Change, ...]:
    old, new = (dict(_pins(before)) if before else {}), dict(_pins(after))
    absent = ("", "")
    return tuple(
        Change(kind=pin[0], name=pin[1], before=old.get(pin, absent)[0], after=new.get(pin, absent)[0])
        for pin in sorted(old.keys() | new.keys())
        if old.get(pin) != new.get(pin)
    )


def _pins(lock: Lock) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """For each kind and name, what people call its version, and what tells it apart."""
    for image in lock.images:
        yield ("image", image.name), (image.root.digest.hex[:19], repr(image))
    for chart in lock.charts:
        yield ("chart", chart.name), (chart.version, repr(chart))
    for kind, wheels in (("bootstrap wheel", lock.bootstrap.wheels), ("wheel", lock.wheels)):
        for project in sorted({wheel.project for wheel in wheels}):
            members = sorted((wheel for wheel in wheels if wheel.project == project), key=lambda wheel: wheel.file)
            versions = ", ".join(dict.fromkeys(wheel.version for wheel in members))
            yield (kind, project), (versions, repr(members))
    debs: dict[str, list[LockedDeb]] = defaultdict(list)
    for deb in sorted(lock.debs, key=lambda deb: (deb.archive, deb.version)):
        debs[f"{deb.package}:{deb.architecture} ({deb.release})"].append(deb)
    for name, builds in debs.items():
        yield ("deb", name), (", ".join(dict.fromkeys(deb.version for deb in builds)), repr(builds))
    for file in lock.files:
        yield ("file", file.name), (file.digest.hex[:19], repr(file))
