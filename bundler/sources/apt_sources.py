"""Where this machine's apt gets packages from: sources.list(5), both forms, read and never changed."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundler.errors import NotFound, ResolutionFailed
from bundler.model.limits import LIMITS
from bundler.model.profile import ExtraArchive
from bundler.sources.control import Stanza, stanzas
from bundler.support.files import read_text
from bundler.support.run import run
from bundler.transport import Request, Transport, Upstreams

NEEDED_FOR = "resolving Debian packages"
SECURITY = "security"
KEYRINGS = Path("/usr/share/keyrings")
_DISTRIBUTIONS = frozenset({"debian", "ubuntu"})

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")
_PATHS = ("Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d", "Dir::Etc::trusted/f", "Dir::Etc::trustedparts/d",
          "Dir::Etc::netrc/f", "Dir::Etc::netrcparts/d")  # fmt: skip
# What apt needs to get through to an archive, and whether its owner lets archives be old (snapshots, frozen
# mirrors: signatures count all the same). Nothing else of the machine's configuration is taken.
_NETWORK = re.compile(
    r"Acquire::(?:https?::(?:Proxy|Proxy-Auto-Detect|ProxyAutoDetect|CaInfo|CAFile|CaPath|SslCert|SslKey)(?:::.*)?"
    r"|ForceIPv[46]|Check-Valid-Until|Check-Date|Max-FutureTime)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """One suite of an archive. `archive` is its role (`debian`, `debian-security`).

    `base` has no slash at its end and may hold credentials; a `suite` that ends in one is a flat repository, which
    has no components. `signed_by` is sources.list's Signed-By: a path, or an OpenPGP key in deb822's continuation
    lines; empty for the machine's own keyrings. `keyring` is a file of ours instead.
    """

    archive: str
    base: str = field(repr=False)
    suite: str
    components: tuple[str, ...]
    signed_by: str
    keyring: Path | None = None

    def stanza(self, architecture: str) -> str:
        """In deb822 form. Nothing of the machine's `trusted` or `allow-*` options: a signature must hold."""
        fields = {
            "Types": "deb",
            "URIs": f"{self.base}/",
            "Suites": self.suite,
            "Components": " ".join(self.components),
            "Architectures": architecture,
            "Signed-By": self.signed_by,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AptMachine:
    """This machine's apt: its sources, where it keeps keyrings and logins, and its way to the network."""

    sources: tuple[Stanza, ...]
    paths: Mapping[str, str]
    network: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls) -> "AptMachine":
        """Raises ToolMissing, NotReadable."""
        shell = _ask("shell", *(word for pair in enumerate(_PATHS) for word in (f"P{pair[0]}", pair[1])))
        values = dict(word.split("=", 1) for word in shlex.split(shell))
        paths = {name: values.get(f"P{place}", "") for place, name in enumerate(_PATHS)}
        settings = (line.partition("\t")[::2] for line in _ask("dump", "--format", "%f\t%v%n").splitlines())
        return cls(
            sources=tuple(_configured(Path(paths[_PATHS[0]]), Path(paths[_PATHS[1]]))),
            paths=paths,
            network=tuple((name, value) for name, value in settings if value and _NETWORK.fullmatch(name)),
        )

    def configured(self, archive: str, release: str) -> tuple[AptSource, ...]:
        """The sources of a release, its updates and its security suite, in that order."""
        found: dict[tuple[str, str, tuple[str, ...]], AptSource] = {}
        for suite in _suites(release):
            for stanza in self.sources:
                for uri in _words(stanza, "URIs"):
                    if suite in _words(stanza, "Suites") and uri.startswith(("http://", "https://")):
                        source = AptSource(
                            archive=_role(archive, release, suite),
                            base=uri.rstrip("/"),
                            suite=suite,
                            components=_words(stanza, "Components"),
                            signed_by=stanza.get("Signed-By", ""),
                        )
                        found.setdefault((source.base, suite, source.components), source)
        return tuple(found.values())


def choose_sources(
    machine: AptMachine,
    archive: str,
    release: str,
    *,
    upstreams: Upstreams,
    transport: Transport,
    components: tuple[str, ...] = (),
) -> tuple[AptSource, ...]:
    """The sources to resolve and fetch from: `--upstream ARCHIVE=URL` and `ARCHIVE-security=URL`, else the machine's.

    `components` are instead of those that the machine has. Raises ResolutionFailed where there is no source, and
    what the transport raises.
    """
    configured, keyring = machine.configured(archive, release), archive_keyring(archive)
    found = []
    for suite in _suites(release):
        role = _role(archive, release, suite)
        base = upstreams.base(role)
        own = [source for source in configured if source.suite == suite]
        if base is not None:
            like = next(iter([*own, *configured]), None)
            source = AptSource(
                archive=role,
                base=base,
                suite=suite,
                components=like.components if like else ("main",),
                signed_by=like.signed_by if like else str(keyring) if keyring.exists() else "",
            )
            # Whether a release has an updates suite, only its archive knows.
            if not suite.endswith("-updates") or _origin(source, transport) is not None:
                found.append(source)
        elif upstreams.base(archive) is None:
            found += _of_the_archive(own, archive, transport)
    if not any(source.suite == release for source in found):
        raise ResolutionFailed(
            what=f"packages for {archive} {release}",
            output=f"no source of this machine's apt is {archive} {release}; `--upstream {archive}=URL` names one",
        )
    return tuple(replace(source, components=components) for source in found) if components else tuple(found)


def extra_source(extra: ExtraArchive, *, upstreams: Upstreams, keyring: Path) -> AptSource:
    """A further archive: `--upstream ROLE=URL` alone says where it is. Raises ResolutionFailed where nothing does."""
    base = upstreams.base(extra.archive)
    if base is None:
        what = f"packages of {extra.archive}"
        raise ResolutionFailed(what=what, output=f"`--upstream {extra.archive}=URL` says where that archive is")
    flat = extra.suite.endswith("/")
    return AptSource(
        archive=extra.archive,
        base=base,
        suite=extra.suite,
        components=() if flat else extra.components or ("main",),
        signed_by="",
        keyring=keyring,
    )


def _of_the_archive(sources: Sequence[AptSource], archive: str, transport: Transport) -> list[AptSource]:
    """Others than the distribution name their suites after its releases too: Origin tells them apart.

    The only source of a distribution's release is taken as it is: mirrors write an Origin of their own.
    """
    alone = len({source.base for source in sources}) < 2
    if alone and archive in _DISTRIBUTIONS:
        return list(sources)
    origins = {source: (_origin(source, transport) or "").casefold() for source in sources}
    if alone:
        return [source for source in sources if origins[source] not in _DISTRIBUTIONS]
    return [source for source in sources if origins[source] == archive]


def _origin(source: AptSource, transport: Transport) -> str | None:
    """What the suite's Release file says of itself, unverified; None where there is no such suite."""
    url = f"{source.base}/dists/{source.suite}/InRelease"
    try:
        text = transport.get(Request(url=url), limit=LIMITS.manifest).body.decode("utf-8", "replace")
    except NotFound:
        return None
    match = re.search(r"^Origin: *(.*?) *$", text, re.MULTILINE)
    return match[1] if match else ""


def _suites(release: str) -> tuple[str, ...]:
    return release, f"{release}-updates", f"{release}-{SECURITY}"


def _role(archive: str, release: str, suite: str) -> str:
    return f"{archive}-{SECURITY}" if suite == f"{release}-{SECURITY}" else archive


def archive_keyring(archive: str) -> Path:
    """Where the keyring package of a distribution (ubuntu-keyring) puts its keys."""
    return KEYRINGS / f"{archive}-archive-keyring.gpg"


def _ask(*arguments: str) -> str:
    outcome = run(["apt-config", *arguments], needed_for=NEEDED_FOR, timeout=60)
    if outcome.code != 0:
        raise ResolutionFailed(what="apt's configuration", output=outcome.tail())
    return outcome.stdout


def _configured(one: Path, folder: Path) -> Iterator[Stanza]:
    files = [one, *sorted(folder.iterdir())] if folder.is_dir() else [one]
    for file in filter(Path.is_file, files):
        text = read_text(file, limit=LIMITS.manifest)
        if file.suffix == ".list":
            yield from _one_line_form(text)
        elif file.suffix == ".sources":
            yield from filter(_enabled, stanzas(text.splitlines()))


def _enabled(stanza: Stanza) -> bool:
    off = stanza.get("Enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable")
    return "deb" in _words(stanza, "Types") and not off


def _one_line_form(text: str) -> Iterator[Stanza]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match is not None:
            options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
            yield {
                "URIs": match["uri"],
                "Suites": match["suite"],
                "Components": match["components"].strip(),
                "Signed-By": options.get("signed-by", "").replace(",", " "),
            }


def _words(stanza: Stanza, name: str) -> tuple[str, ...]:
    return tuple(stanza.get(name, "").split())
