"""Wheels: a resolver that evaluates the target's markers, then the index's own list of files."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from bundler.errors import NotFound, ResolutionFailed, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import METADATA_TYPE, LockedWheel
from bundler.sources.index import IndexFile, PackageIndex
from bundler.sources.pins import KEEP_ALL, Resolved, Update
from bundler.sources.uv import Pins, Wanted, compile_requirements
from bundler.sources.wheel_file import fetched_metadata, remote_metadata, requires_of
from bundler.sources.wheel_target import WheelTarget
from bundler.transport import Request

_JOBS = 8
# uv: "app==1.0 has no usable wheels", "all versions of app have no wheels with a matching Python ABI tag".
_NO_WHEELS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:[<>=!~,][^ ]*)? ha(?:s|ve) no (?:usable )?wheels")
_BUILD_IT = (
    "{project} has only a source distribution for {target}: it would have to be built on the site. Pin a version that "
    "has a wheel, or build one (`pip wheel`) and serve it from an index of your own (`--upstream pypi=URL`)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The wheels of the lock before, and which of them may move."""

    wheels: tuple[LockedWheel, ...]
    update: Update

    def pins(self, target: WheelTarget) -> Mapping[NormalizedName, LockedWheel]:
        """What should stay for one target."""
        return {
            canonicalize_name(wheel.project): wheel
            for wheel in self.wheels
            if target.python in wheel.pythons and not self.update.moves(wheel.project) and _fits(wheel, target)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    project: NormalizedName
    file: IndexFile
    digest: Digest


def resolve_wheels(
    requirements: Sequence[str],
    *,
    pythons: Sequence[str],
    glibc: str,
    architecture: str,
    index: PackageIndex,
    constraints: Sequence[str] = (),
    keep: Iterable[LockedWheel] = (),
    update: Update = KEEP_ALL,
) -> Resolved[LockedWheel]:
    """The closure of `requirements` for each of `pythons`, wheels only, as pip on the target would choose them.

    `glibc` is a profile's (`manylinux_2_36`), `architecture` as OCI and Debian name it (`amd64`), `constraints` are
    bounds on what else may be chosen. Locked wheels that are still served stay, but those that `update` moves.
    Raises ResolutionFailed, Unsupported, ToolMissing, and what the transport raises.
    """
    held = _Held(wheels=tuple(keep), update=update)
    targets = [WheelTarget.of(python=python, glibc=glibc, architecture=architecture) for python in pythons]
    closures = [(target, _closure((requirements, constraints), target, index, held)) for target in targets]
    gone: dict[str, LockedWheel] = {}
    chosen: dict[_Choice, tuple[str, ...]] = {}
    with ThreadPoolExecutor(_JOBS) as pool:
        projects = {project for _, closure in closures for project in closure}
        list(pool.map(index.files, sorted(projects)))  # pages are read side by side and stay in the index
        for target, closure in closures:
            pins = held.pins(target)
            for project, version in closure.items():
                pin = pins.get(project)
                if pin is not None and not _served(pin, index):
                    gone[pin.file] = pin
                choice = _kept(pin, version, target, index) or _best(project, version, target, index)
                chosen[choice] = (*chosen.get(choice, ()), target.python)
        entries = list(pool.map(lambda item: _lock(item[0], item[1], held, index), chosen.items()))
    return Resolved(entries=tuple(sorted(entries, key=_file_name)), gone=tuple(gone.values()))


class WheelLocator:
    """Says where the bytes of a locked wheel are now. Threads may share one."""

    def __init__(self, index: PackageIndex) -> None:
        self._index = index

    def locate(self, wheel: LockedWheel) -> Request:
        """Raises NotFound when the index no longer serves that file, or other bytes under its name."""
        file = _served(wheel, self._index)
        if file is None:
            raise NotFound(url=self._index.page(wheel.project), what=f"{wheel.file} ({wheel.digest})")
        return Request(url=file.url, what=wheel.file)


def _closure(asked: tuple[Sequence[str], Sequence[str]], target: WheelTarget, index: PackageIndex, held: _Held) -> Pins:
    requirements, constraints = asked
    try:
        return compile_requirements(
            Wanted(
                requirements=requirements,
                constraints=constraints,
                python=target.python,
                platform=target.uv_platform,
            ),
            index=index.url,
            pins={project: wheel.version for project, wheel in held.pins(target).items()},
            refresh=held.update != KEEP_ALL,
        )
    except ResolutionFailed as error:
        notes = "".join(f"\n{note}" for note in _without_wheels(error.output, target, index))
        raise ResolutionFailed(what=error.what, output=error.output + notes) from None


def _without_wheels(output: str, target: WheelTarget, index: PackageIndex) -> Iterator[str]:
    """For each project that uv says has no wheels: whether it has a source distribution instead, and what helps."""
    for project in sorted({canonicalize_name(name) for name in _NO_WHEELS.findall(" ".join(output.split()))}):
        files: Iterable[str] = ()
        with contextlib.suppress(NotFound):
            files = index.files(project)
        if any(file.endswith((".tar.gz", ".zip")) for file in files):
            wheels = _versions_for(target, project, files)
            yield _BUILD_IT.format(project=project, target=target)
            if wheels:
                yield f"Versions of {project} with a wheel for it: {', '.join(map(str, wheels[-5:]))}."


def _versions_for(target: WheelTarget, project: NormalizedName, files: Iterable[str]) -> list[Version]:
    found = set()
    for file in files:
        with contextlib.suppress(InvalidWheelFilename, InvalidVersion):
            version = parse_wheel_filename(file)[1]
            if target.rank(file, project, version) is not None:
                found.add(version)
    return sorted(found)


def _fits(wheel: LockedWheel, target: WheelTarget) -> bool:
    return target.rank(wheel.file, canonicalize_name(wheel.project), Version(wheel.version)) is not None


def _served(wheel: LockedWheel, index: PackageIndex) -> IndexFile | None:
    file = index.files(wheel.project).get(wheel.file)
    return file if file is not None and file.digest == wheel.digest else None


def _kept(pin: LockedWheel | None, version: str, target: WheelTarget, index: PackageIndex) -> _Choice | None:
    """The locked file, where the resolver kept its version: a better one of that version moves nothing."""
    if pin is None or Version(pin.version) != Version(version):
        return None
    project, file = canonicalize_name(pin.project), _served(pin, index)
    if file is None or target.rank(file.name, project, Version(version)) is None:
        return None
    return _Choice(project=project, file=file, digest=pin.digest)


def _best(project: NormalizedName, version: str, target: WheelTarget, index: PackageIndex) -> _Choice:
    """The file that pip would choose; withdrawn ones only where there is no other (PEP 592)."""
    ranked = []
    for file in index.files(project).values():
        rank = target.rank(file.name, project, Version(version))
        if rank is not None and file.digest is not None:
            ranked.append((not file.yanked, rank, file.name, file, file.digest))
    if not ranked:
        raise ResolutionFailed(
            what=f"{project} {version} for {target}",
            output=f"{index.page(project)} has no wheel of it, with a SHA-256, for that target",
        )
    *_, file, digest = max(ranked, key=lambda entry: entry[:3])
    return _Choice(project=project, file=file, digest=digest)


def _lock(choice: _Choice, pythons: tuple[str, ...], held: _Held, index: PackageIndex) -> LockedWheel:
    file = choice.file
    for wheel in held.wheels:
        if (wheel.file, wheel.digest) == (file.name, choice.digest) and wheel.requires:
            return replace(wheel, pythons=pythons)
    metadata, size = _metadata(file, choice.digest, choice.project, index)
    return LockedWheel(
        project=choice.project,
        version=str(parse_wheel_filename(file.name)[1]),
        file=file.name,
        digest=choice.digest,
        size=size,
        metadata=Descriptor(media_type=METADATA_TYPE, digest=Digest.of(metadata), size=len(metadata)),
        pythons=pythons,
        requires=requires_of(metadata),
    )


def _file_name(wheel: LockedWheel) -> str:
    return wheel.file


def _metadata(file: IndexFile, digest: Digest, project: str, index: PackageIndex) -> tuple[bytes, int]:
    """METADATA, and the wheel's size: from beside the wheel (PEP 658), else out of the wheel on its server."""
    request = Request(url=file.url, what=file.name)
    if file.size is None:
        return fetched_metadata(index.transport, request, digest=digest, project=project)
    beside = _beside(file, index)
    if beside is not None:
        return beside, file.size
    return remote_metadata(index.transport, request, size=file.size, project=project), file.size


def _beside(file: IndexFile, index: PackageIndex) -> bytes | None:
    if not file.has_metadata:
        return None
    request = Request(url=f"{file.url}.metadata", what=f"{file.name}.metadata")
    try:
        data = index.transport.get(request, limit=LIMITS.metadata).body
    except NotFound:
        return None  # announced, but a mirror may not have it: the wheel itself does
    if file.metadata is not None and Digest.of(data) != file.metadata:
        raise WrongBytes(what=request.what, expected=str(file.metadata), found=str(Digest.of(data)))
    return data
