"""Whether pip finds everything that is asked for in a lock alone: by the wheels' own METADATA first, which says what is
missing and who wants it, then by the real resolver, on stand-ins with that METADATA, without network."""

import re
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from bundler.closure.missing import Missing
from bundler.errors import ResolutionFailed
from bundler.model.lock import Lock, LockedWheel
from bundler.sources.bootstrap import REQUIREMENTS
from bundler.sources.uv import Pins, Wanted, compile_from_files
from bundler.sources.wheel_target import WheelTarget
from bundler.support.files import writing

_WHEEL = "wheel"
_JOBS = 4
_NAME = r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?(?:[<>=!~][^ ]*)?"
_UNKNOWN = re.compile(
    rf"{_NAME} (?:was not found|has no (?:usable )?wheels)|no versions? of {_NAME}|only {_NAME} is available"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    requirement: str
    wanter: str


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """What one target's interpreter is asked to have, and the wheels that were locked for it."""

    target: WheelTarget
    asked: tuple[_Asked, ...]
    constraints: tuple[str, ...]
    wheels: tuple[LockedWheel, ...]

    @cached_property
    def by_project(self) -> Mapping[str, list[LockedWheel]]:
        found: dict[str, list[LockedWheel]] = defaultdict(list)
        for wheel in self.wheels:
            found[canonicalize_name(wheel.project)].append(wheel)
        return found


def prove_wheels(lock: Lock, tool: Sequence[str] = REQUIREMENTS) -> tuple[Missing, ...]:
    """What pip would not find for the components, and for the tool itself, whose requirements are `tool`; sorted.

    Raises Unsupported for a target that wheels are not made for, ToolMissing without uv.
    """
    return missing_by_metadata(lock, tool) or missing_by_resolver(lock, tool)


def missing_by_metadata(lock: Lock, tool: Sequence[str] = REQUIREMENTS) -> tuple[Missing, ...]:
    """What a requirement leads to and is not there."""
    return tuple(sorted(missing for scope in _scopes(lock, tool) for missing in _by_metadata(scope)))


def missing_by_resolver(lock: Lock, tool: Sequence[str] = REQUIREMENTS) -> tuple[Missing, ...]:
    """What the resolver says is not there, one run for each target."""
    with TemporaryDirectory(prefix="bundle-wheels-") as scratch, ThreadPoolExecutor(_JOBS) as pool:
        found = pool.map(lambda each: _by_uv(each[1], Path(scratch, str(each[0]))), enumerate(_scopes(lock, tool)))
        return tuple(sorted({missing for each in found for missing in each}))


def _scopes(lock: Lock, tool: Sequence[str]) -> Iterator[_Scope]:
    components = tuple(
        _Asked(requirement=requirement, wanter=f"component {each.component}")
        for each in lock.asked
        for requirement in each.wheels
    )
    itself = tuple(_Asked(requirement=requirement, wanter="the tool itself") for requirement in tool)
    for asked, constraints, wheels, pythons in (
        (components, lock.constraints, lock.wheels, lock.pythons),
        (itself, (), lock.bootstrap.wheels, lock.bootstrap.pythons),
    ):
        for platform in lock.platforms:
            for python in pythons if asked else ():
                target = WheelTarget.of(python=python, glibc=lock.glibc, architecture=platform.architecture)
                fitting = tuple(wheel for wheel in wheels if python in wheel.pythons and _fits(wheel, target))
                yield _Scope(target=target, asked=asked, constraints=constraints, wheels=fitting)


def _fits(wheel: LockedWheel, target: WheelTarget) -> bool:
    return target.rank(wheel.file, canonicalize_name(wheel.project), Version(wheel.version)) is not None


def _by_metadata(scope: _Scope) -> Iterator[Missing]:
    """Follow every requirement to a wheel. What METADATA says in a way of its own is left to the resolver."""
    wanted: dict[str, set[str]] = defaultdict(set)
    pending = deque((asked.requirement, asked.wanter, frozenset[str]()) for asked in scope.asked)
    seen: set[tuple[str, str, frozenset[str]]] = set()
    environment = _environment(scope.target)
    while pending:
        text, wanter, extras = pending.popleft()
        requirement = _requirement(text)
        if requirement is None or not _applies(requirement, extras, environment):
            continue
        project = canonicalize_name(requirement.name)
        wheels = [
            wheel
            for wheel in scope.by_project.get(project, ())
            if requirement.specifier.contains(wheel.version, prereleases=True) and _runs(wheel, scope.target)
        ]
        if not wheels:
            wanted[project].add(f"{wanter} ({text})")
        for wheel in wheels:
            asked = (wheel.file, wheel.version, frozenset(map(canonicalize_name, requirement.extras)))
            if asked not in seen:
                seen.add(asked)
                whose = f"{wheel.project} {wheel.version}"
                pending.extend((line, whose, asked[2]) for line in _lines(wheel, "Requires-Dist"))
    for name, wanters in wanted.items():
        yield _missing(name, scope, wanters)


def _missing(project: str, scope: _Scope, wanters: Iterable[str], why: str = "") -> Missing:
    return Missing(kind=_WHEEL, target=str(scope.target), name=project, wanted_by=tuple(sorted(wanters)), why=why)


def _lines(wheel: LockedWheel, name: str) -> Iterator[str]:
    return (line.removeprefix(f"{name}: ") for line in wheel.requires if line.startswith(f"{name}: "))


@lru_cache(maxsize=65536)
def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement, extras: frozenset[str], environment: Mapping[str, str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**environment, "extra": extra}) for extra in ("", *sorted(extras)))


def _runs(wheel: LockedWheel, target: WheelTarget) -> bool:
    """Whether Requires-Python admits some Python of the target's line: a few projects leave out its first ones."""
    try:
        bounds = [SpecifierSet(text) for text in _lines(wheel, "Requires-Python")]
    except InvalidSpecifier:
        return True
    return any(all(each.contains(f"{target.python}.{patch}") for each in bounds) for patch in (0, 99))


def _environment(target: WheelTarget) -> Mapping[str, str]:
    """The markers' variables (PEP 508) on the target, as uv has them."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
    }


def _by_uv(scope: _Scope, folder: Path) -> list[Missing]:
    """What the resolver does not find in a folder of stand-ins, or finds in another version than the locked one."""
    with writing(folder):
        folder.mkdir()
        for wheel in scope.wheels:
            _write_stand_in(folder / wheel.file, wheel)
    wanted = Wanted(
        requirements=[asked.requirement for asked in scope.asked],
        constraints=scope.constraints,
        python=scope.target.python,
        platform=scope.target.uv_platform,
    )
    try:
        pins = compile_from_files(wanted, folder)
    except ResolutionFailed as error:
        return list(_parsed(error.output, scope))
    return list(_other_versions(pins, scope))


def _write_stand_in(path: Path, wheel: LockedWheel) -> None:
    """A wheel without content: what a resolver reads of it."""
    info = f"{'-'.join(wheel.file.split('-')[:2])}.dist-info"
    head = ("Metadata-Version: 2.1", f"Name: {wheel.project}", f"Version: {wheel.version}", *wheel.requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(head) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")


def _parsed(said: str, scope: _Scope) -> Iterator[Missing]:
    """uv's words as data; what they do not tell is told by the words."""
    text = " ".join(said.split())
    projects = {str(canonicalize_name("".join(names))) for names in _UNKNOWN.findall(text)} or {"wheels"}
    wanters = {asked.wanter for asked in scope.asked}
    for project in projects:
        yield _missing(project, scope, wanters, why=said)


def _other_versions(pins: Pins, scope: _Scope) -> Iterator[Missing]:
    for project, version in pins.items():
        if all(Version(wheel.version) != Version(version) for wheel in scope.by_project.get(project, ())):
            yield _missing(project, scope, ("the resolver",), why=f"it chose {version}, which is not locked")
