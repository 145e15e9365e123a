"""Where this machine's apt gets packages from: sources.list(5), both forms, read and never changed."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bundler.errors import NotFound, ResolutionFailed
from bundler.model.limits import LIMITS
from bundler.sources.control import Stanza, stanzas
from bundler.support.files import read_text
from bundler.support.run import run
from bundler.transport import Request, Transport, Upstreams

NEEDED_FOR = "resolving Debian packages"
SECURITY = "security"

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

    `base` has no slash at its end and may hold credentials. `signed_by` is sources.list's Signed-By: a path, or
    an OpenPGP key in deb822's continuation lines; empty for the machine's own keyrings.
    """

    archive: str
    base: str = field(repr=False)
    suite: str
    components: tuple[str, ...]
    signed_by: str

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
    machine: AptMachine, archive: str, release: str, *, upstreams: Upstreams, transport: Transport
) -> tuple[AptSource, ...]:
    """The sources to resolve and fetch from: `--upstream ARCHIVE=URL` and `ARCHIVE-security=URL`, else the machine's.

    Raises ResolutionFailed where there is none, and what the transport raises.
    """
    configured = machine.configured(archive, release)
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
                signed_by=like.signed_by if like else _archive_keyring(archive),
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
    return tuple(found)


def _of_the_archive(sources: Sequence[AptSource], archive: str, transport: Transport) -> list[AptSource]:
    """Others than the distribution name their suites after its releases too: Origin tells them apart."""
    if len({source.base for source in sources}) < 2:
        return list(sources)
    return [source for source in sources if (_origin(source, transport) or "").casefold() == archive]


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


def _archive_keyring(archive: str) -> str:
    """The keyring package of another distribution, where it is installed (debian-archive-keyring)."""
    path = Path(f"/usr/share/keyrings/{archive}-archive-keyring.gpg")
    return str(path) if path.exists() else ""


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
