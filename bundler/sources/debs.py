"""Debian packages: apt's own resolver in a private root, for the target release and an empty base."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bundler.catalog.manifests import Manifests
from bundler.errors import Malformed, ResolutionFailed
from bundler.model.asked import LockedTarget, PackageRole
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedDeb
from bundler.model.names import check_path, check_segment
from bundler.model.profile import PackageTarget
from bundler.sources.apt import BASE, Build, PrivateApt, private_apt
from bundler.sources.apt_sources import SECURITY, AptMachine, AptSource, archive_keyring, choose_sources, extra_source
from bundler.sources.control import Stanza, control, parse_control, stanzas
from bundler.sources.installed import installed, needed_of
from bundler.sources.pins import KEEP_ALL, Resolved, Update
from bundler.sources.relations import Offers, asked_for, depends_of, offer_of
from bundler.support.files import read_text
from bundler.transport import Request, Transport, Upstreams

_ADVICE = "Pins of the lock before were kept; `--update` lets them move."


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDebs:
    """`roles` are the names that hosts of each role ask for; those in `optional` are left out where no source has
    them."""

    target: PackageTarget
    architecture: str
    roles: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDebs(Resolved[LockedDeb]):
    """`target` says what was asked, without the names that were left out, and what the hosts have before that."""

    target: LockedTarget


def resolve_debs(
    wanted: WantedDebs,
    *,
    transport: Transport,
    upstreams: Upstreams,
    manifests: Manifests,
    keep: Iterable[LockedDeb] = (),
    update: Update = KEEP_ALL,
) -> FoundDebs:
    """The closures of all roles together: for an empty base, Essential packages and apt with them, else for what a
    host's status file says is installed.

    Recommended packages are not taken. Locked packages that are still served stay, but those that `update` moves.
    Raises ResolutionFailed with apt's own words, ToolMissing, NotReadable, and what the transport raises.
    """
    target, architecture = wanted.target, wanted.architecture
    held = {
        _build(deb): deb for deb in keep if deb.release == target.release and deb.architecture in (architecture, "all")
    }
    pinned = [build for build in held if not update.moves(build.package)]
    machine = AptMachine.read()
    sources = _sources(machine, target, manifests, upstreams=upstreams, transport=transport)
    status = _status(target, architecture, manifests)
    with private_apt(architecture, machine) as apt:
        apt.use(sources, architecture)
        apt.installed(status)
        _update(apt, target, sources)
        apt.prefer(pinned)
        known = apt.known(wanted.optional) if wanted.optional else frozenset()
        roles = {
            role: tuple(name for name in names if name in known or name not in wanted.optional)
            for role, names in sorted(wanted.roles.items())
        }
        builds = _closures(apt, roles, base=not target.status, pinned=bool(pinned))
        served = _served({*builds, *pinned}, sources, target.release, apt)
    entries = tuple(_pick(build, served[build], held.get(build)) for build in sorted(builds))
    host = installed(status)
    _check_asked({name for names in roles.values() for name in names}, entries, host)
    chosen = {build.package for build in builds}
    gone = (held[build] for build in pinned if build.package in chosen and not _holds(held[build], served[build]))
    return FoundDebs(entries=entries, gone=tuple(gone), target=_locked_target(wanted, roles, entries, host))


def _closures(apt: PrivateApt, roles: Mapping[str, tuple[str, ...]], *, base: bool, pinned: bool) -> set[Build]:
    builds: set[Build] = set()
    for role, names in roles.items():
        try:
            builds.update(apt.closure((*(BASE if base else ()), *names)))
        except ResolutionFailed as error:
            advice = f"\n{_ADVICE}" if pinned else ""
            what = f"packages {' '.join(names)}{f' for the role {role}' if role else ''}"
            raise ResolutionFailed(what=what, output=error.output + advice) from None
    return builds


def _sources(
    machine: AptMachine, target: PackageTarget, manifests: Manifests, *, upstreams: Upstreams, transport: Transport
) -> tuple[AptSource, ...]:
    own = choose_sources(
        machine,
        target.archive,
        target.release,
        upstreams=upstreams,
        transport=transport,
        components=target.components,
    )
    also = (extra_source(extra, upstreams=upstreams, keyring=manifests.file(extra.keyring)) for extra in target.also)
    return (*own, *also)


def _update(apt: PrivateApt, target: PackageTarget, sources: Sequence[AptSource]) -> None:
    try:
        apt.update()
    except ResolutionFailed as error:
        if all(source.signed_by or source.keyring for source in sources):
            raise
        keyring = archive_keyring(target.archive)
        advice = f"{keyring} is not there: the package {target.archive}-keyring has the keys of that archive."
        raise ResolutionFailed(what=error.what, output=f"{error.output}\n{advice}") from None


def _status(target: PackageTarget, architecture: str, manifests: Manifests) -> str:
    """The host's dpkg status, or nothing for an empty base. Raises ResolutionFailed for one of another machine."""
    if not target.status:
        return ""
    path = manifests.file(target.status)
    text = read_text(path, limit=LIMITS.document)
    native = next(
        (
            stanza["Architecture"]
            for stanza in stanzas(text.splitlines())
            if stanza.get("Package") == "dpkg" and "Architecture" in stanza
        ),
        "",
    )
    if native != architecture:
        output = f"{path} is of a host with {native or 'no dpkg'}, and packages are for {architecture}"
        raise ResolutionFailed(what=f"packages for {target.name}", output=output)
    return text


def _locked_target(
    wanted: WantedDebs, roles: Mapping[str, tuple[str, ...]], entries: Sequence[LockedDeb], host: Sequence[Stanza]
) -> LockedTarget:
    target = wanted.target
    controls = [parse_control(deb.control) for deb in entries]
    asked = [asked_for(name) for names in roles.values() for name in names]
    if target.status:
        base = needed_of(host, (*asked, *(relation for each in controls for relation in depends_of(each))))
    else:
        names = (each["Package"] for each in controls if each.get("Essential") == "yes" or each["Package"] in BASE)
        base = tuple(sorted(names))
    return LockedTarget(
        archive=target.archive,
        release=target.release,
        architecture=wanted.architecture,
        base=base,
        installed=bool(target.status),
        roles=tuple(PackageRole(role=role, names=names) for role, names in roles.items()),
    )


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


def _check_asked(names: Iterable[str], entries: Iterable[LockedDeb], host: Iterable[Stanza]) -> None:
    """apt reads `NAME-` as a removal and others as patterns: what was asked for must be there, or provided."""
    offers = Offers(map(offer_of, (*(parse_control(deb.control) for deb in entries), *host)))
    missing = sorted(name for name in names if not offers.meeting(asked_for(name)))
    if missing:
        raise ResolutionFailed(what=f"packages {' '.join(missing)}", output="apt knows no packages of these names")
