"""The lock as text: sorted, one fact a line, equal text for equal locks. `bundler.model.lock` reads it back."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from bundler.model.asked import Asked, AskedChart, LockedTarget, PackageRole
from bundler.model.component import Silence, Variant
from bundler.model.descriptor import Descriptor
from bundler.model.lock import (
    VERSION,
    ChartDependency,
    Lock,
    LockedChart,
    LockedDeb,
    LockedFile,
    LockedImage,
    LockedWheel,
)

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
    yield f"glibc: {lock.glibc}"
    yield f"python: {_flow(lock.pythons)}"
    yield f"constraints: {_flow(lock.constraints)}"
    yield "bootstrap:"
    yield f"  python: {_flow(lock.bootstrap.pythons)}"
    yield from _indent("  ", _listing("wheels", map(_wheel, sorted(lock.bootstrap.wheels, key=_name))))
    yield from _listing("components", map(_asked, sorted(lock.asked, key=_name)))
    yield from _listing("targets", map(_target, sorted(lock.targets, key=_name)))
    yield from _listing("charts", map(_chart, sorted(lock.charts, key=_name)))
    yield from _listing("images", map(_image, sorted(lock.images, key=_name)))
    yield from _listing("wheels", map(_wheel, sorted(lock.wheels, key=_name)))
    yield from _listing("debs", map(_deb, sorted(lock.debs, key=_deb_key)))
    yield from _listing("files", map(_file, sorted(lock.files, key=_name)))


def _name(entry: Asked | LockedTarget | LockedChart | LockedImage | LockedWheel | LockedFile) -> str:
    return entry.name


def _deb_key(deb: LockedDeb) -> tuple[str, str, str]:
    return deb.archive, deb.release, deb.file


def _asked(asked: Asked) -> Lines:
    """Only what is there: most components ask for one or two kinds."""
    yield f"component: {_scalar(asked.component)}"
    if asked.version:
        yield f"version: {_scalar(asked.version)}"
    for key, texts in (
        ("images", map(str, asked.images)),
        ("revealed", map(str, asked.revealed)),
        ("wheels", asked.wheels),
        ("packages", asked.packages),
        ("files", asked.files),
    ):
        yield from _scalars(key, sorted(set(texts)))
    if asked.charts:
        yield from _listing("charts", map(_asked_chart, sorted(asked.charts, key=lambda chart: chart.release)))
    if asked.provides:
        yield "provides:"
        yield from (f"  {name}: {_scalar(version)}" for name, version in sorted(asked.provides))
    if asked.tools:
        yield "tools:"
        for name, tool in sorted(asked.tools):
            yield f"  {name}:"
            yield f"    file: {_scalar(tool.file)}"
            if tool.member:
                yield f"    member: {_scalar(tool.member)}"
    if asked.silences:
        yield from _listing("silence", map(_silence, sorted(asked.silences, key=lambda silence: silence.image)))


def _asked_chart(chart: AskedChart) -> Lines:
    yield f"chart: {_scalar(chart.chart)}"
    yield f"version: {_scalar(chart.version)}"
    yield f"release: {_scalar(chart.release)}"
    yield f"namespace: {_scalar(chart.namespace)}"
    yield f"values: {_quoted(chart.values)}"
    if chart.variants:
        yield from _listing("variants", map(_variant, sorted(chart.variants, key=lambda variant: variant.name)))


def _variant(variant: Variant) -> Lines:
    yield f"name: {_scalar(variant.name)}"
    yield f"values: {_quoted(variant.values)}"


def _silence(silence: Silence) -> Lines:
    yield f"image: {_scalar(silence.image)}"
    yield f"reason: {_scalar(silence.reason)}"


def _target(target: LockedTarget) -> Lines:
    yield f"archive: {_scalar(target.archive)}"
    yield f"release: {_scalar(target.release)}"
    yield f"architecture: {_scalar(target.architecture)}"
    yield f"installed: {str(target.installed).lower()}"
    yield from _scalars("base", target.base) if target.base else ("base: []",)
    yield from _listing("roles", map(_role, sorted(target.roles, key=lambda role: role.role)))
    if target.chosen:
        yield "chosen:"
        yield from (f"  {_scalar(package)}: {_scalar(name)}" for package, name in sorted(target.chosen))


def _role(role: PackageRole) -> Lines:
    if role.role:
        yield f"role: {_scalar(role.role)}"
    yield from _scalars("names", role.names) if role.names else ("names: []",)


def _chart(chart: LockedChart) -> Lines:
    yield f"chart: {_scalar(chart.chart)}"
    yield f"version: {_scalar(chart.version)}"
    yield f"repository: {_scalar(chart.repository)}"
    if chart.url:
        yield f"url: {_scalar(chart.url)}"
    yield f"digest: {chart.digest}"
    yield f"size: {chart.size}"
    yield f"metadata: {_quoted(chart.metadata)}"
    for key, descriptor in (
        ("provenance", chart.provenance),
        ("manifest", chart.manifest),
        ("config", chart.config),
    ):
        if descriptor is not None:
            yield f"{key}:"
            yield from _indent("  ", _descriptor(descriptor))
    if chart.dependencies:
        yield from _listing("dependencies", map(_dependency, sorted(chart.dependencies, key=_dependency_key)))


def _dependency_key(dependency: ChartDependency) -> tuple[str, str]:
    return dependency.name, dependency.version


def _dependency(dependency: ChartDependency) -> Lines:
    yield f"chart: {_scalar(dependency.name)}"
    yield f"version: {_scalar(dependency.version)}"
    yield f"url: {_scalar(dependency.url)}"
    yield f"digest: {dependency.digest}"
    yield f"size: {dependency.size}"


def _image(image: LockedImage) -> Lines:
    yield f"reference: {_scalar(image.name)}"
    if image.source:
        yield f"from: {_scalar(image.source)}"
    if image.synthesised:
        yield f"synthesised: {_quoted(image.synthesised)}"
    yield "root:"
    yield from _indent("  ", _descriptor(image.root))
    yield from _listing("manifests", map(_descriptor, sorted(image.manifests)))
    if image.referrers:
        yield from _listing("referrers", map(_descriptor, sorted(image.referrers)))
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
    yield from _scalars("requires", wheel.requires) if wheel.requires else ("requires: []",)


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
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _scalars(key: str, texts: Iterable[str]) -> Lines:
    """A list of scalars, one a line; nothing for an empty one."""
    for at, text in enumerate(texts):
        if at == 0:
            yield f"{key}:"
        yield f"- {_scalar(text)}"


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
