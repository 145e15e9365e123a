"""Debian packages: apt's own resolver in a private root, for the target release and an empty base."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from bundler.errors import Malformed, ResolutionFailed
from bundler.model.digest import Digest
from bundler.model.lock import LockedDeb
from bundler.model.names import check_path, check_segment
from bundler.sources.apt import Build, PrivateApt, private_apt
from bundler.sources.apt_sources import SECURITY, AptMachine, AptSource, choose_sources
from bundler.sources.control import Stanza, control
from bundler.sources.pins import KEEP_ALL, Resolved, Update
from bundler.transport import Request, Transport, Upstreams


def resolve_debs(
    names: Sequence[str],
    *,
    archive: str,
    release: str,
    architecture: str,
    transport: Transport,
    upstreams: Upstreams,
    keep: Iterable[LockedDeb] = (),
    update: Update = KEEP_ALL,
) -> Resolved[LockedDeb]:
    """The closure of `names` for an empty base: ?essential, apt and what was asked, with their dependencies.

    Recommended packages are not taken. Locked packages that are still served stay, but those that `update` moves.
    Raises ResolutionFailed with apt's own words, ToolMissing, and what the transport raises.
    """
    held = {_build(deb): deb for deb in keep if deb.release == release and deb.architecture in (architecture, "all")}
    pinned = [build for build in held if not update.moves(build.package)]
    machine = AptMachine.read()
    sources = choose_sources(machine, archive, release, upstreams=upstreams, transport=transport)
    with private_apt(machine, architecture) as apt:
        apt.use(sources, architecture)
        apt.update()
        builds = apt.closure(names, pinned)
        served = _served({*builds, *pinned}, sources, release, apt)
    entries = tuple(_pick(build, served[build], held.get(build)) for build in builds)
    _check_asked(names, entries)
    wanted = {build.package for build in builds}
    gone = (held[build] for build in pinned if build.package in wanted and not _holds(held[build], served[build]))
    return Resolved(entries=entries, gone=tuple(gone))


class DebLocator:
    """Says where the bytes of a locked package are now. Threads may share one."""

    def __init__(self, transport: Transport, upstreams: Upstreams) -> None:
        self._transport, self._upstreams = transport, upstreams
        self._machine: AptMachine | None = None
        self._sources: dict[tuple[str, str], tuple[AptSource, ...]] = {}
        self._lock = threading.Lock()

    def locate(self, deb: LockedDeb) -> Request:
        """Raises ResolutionFailed when this machine knows no source of the package's archive, and what reading
        apt's configuration raises."""
        base = self._upstreams.base(deb.archive)
        if base is None:
            base = self._configured(deb)
        return Request(url=f"{base}/{quote(deb.path, safe='/~')}", what=deb.file)

    def _configured(self, deb: LockedDeb) -> str:
        archive = deb.archive.removesuffix(f"-{SECURITY}")
        with self._lock:
            if self._machine is None:
                self._machine = AptMachine.read()
            if (archive, deb.release) not in self._sources:
                self._sources[archive, deb.release] = choose_sources(
                    self._machine, archive, deb.release, upstreams=Upstreams(), transport=self._transport
                )
            sources = self._sources[archive, deb.release]
        own = [source for source in sources if source.archive == deb.archive]
        for source in sorted(own, key=lambda source: source.suite != deb.suite):
            return source.base
        raise ResolutionFailed(
            what=deb.file,
            output=f"no source of this machine's apt is {deb.archive}; `--upstream {deb.archive}=URL` names one",
        )


def _build(deb: LockedDeb) -> Build:
    return Build(package=deb.package, version=deb.version, architecture=deb.architecture)


def _served(
    builds: Iterable[Build], sources: Sequence[AptSource], release: str, apt: PrivateApt
) -> Mapping[Build, list[LockedDeb]]:
    """Each build as the sources have it, in their order: one version may be in several suites."""
    wanted, served = set(builds), defaultdict(list)
    for source in sources:
        for stanza in apt.packages(source):
            build = Build(*(stanza.get(name, "") for name in ("Package", "Version", "Architecture")))
            if build in wanted:
                served[build].append(_locked(build, stanza, source, release))
    return served


def _locked(build: Build, stanza: Stanza, source: AptSource, release: str) -> LockedDeb:
    try:
        deb = LockedDeb(
            package=check_segment(build.package),
            version=build.version,
            architecture=build.architecture,
            archive=source.archive,
            suite=source.suite,
            release=release,
            path=check_path(stanza.get("Filename", "").removeprefix("./")),
            digest=Digest(stanza.get("SHA256", "")),
            size=int(stanza.get("Size", "")),
            control=control(stanza),
        )
        check_segment(deb.file)
    except (Malformed, ValueError) as error:
        raise ResolutionFailed(what=f"{build.package} {build.version} of {source.suite}", output=str(error)) from None
    return deb


def _pick(build: Build, served: Sequence[LockedDeb], held: LockedDeb | None) -> LockedDeb:
    """The locked entry as it was where it still holds; else the same bytes elsewhere; else the first source's."""
    for deb in served:
        if held is not None and _place(deb) == _place(held):
            return held
    for deb in served:
        if held is None or deb.digest == held.digest:
            return deb
    if not served:
        raise ResolutionFailed(what=f"{build.package} {build.version}", output="it is in no Packages file")
    return served[0]


def _place(deb: LockedDeb) -> tuple[str, str, str, Digest]:
    return deb.archive, deb.suite, deb.path, deb.digest


def _holds(deb: LockedDeb, served: Iterable[LockedDeb]) -> bool:
    return any(other.digest == deb.digest for other in served)


def _check_asked(names: Iterable[str], entries: Iterable[LockedDeb]) -> None:
    """apt reads `NAME-` as a removal and others as patterns: what was asked for must be there, or provided."""
    present = {name for deb in entries for name in (deb.package, *_provided(deb))}
    missing = [name for name in names if re.split("[:=]", name)[0] not in present]
    if missing:
        raise ResolutionFailed(what=f"packages {' '.join(missing)}", output="apt knows no packages of these names")


def _provided(deb: LockedDeb) -> list[str]:
    provides = re.search(r"^Provides: (.*)$", deb.control, re.MULTILINE)
    return [part.split("(")[0].strip() for part in provides[1].split(",")] if provides else []
