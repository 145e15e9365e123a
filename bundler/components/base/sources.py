"""apt: the site's archives as the only sources."""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.components.base.names import SYSTEM
from bundler.components.registry.endpoint import repositories_host
from bundler.errors import NotCarried
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.site import Site
from bundler.model.sitenames import site_archive
from bundler.steps.actions import BEFORE, Action, SetAside, before
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File
from bundler.views.clients import apt_sources

OURS = "/etc/apt/sources.list.d/bundle.sources"
KEYRING = "/etc/apt/keyrings/bundle.asc"
OPTIONS = "/etc/apt/apt.conf.d/90bundle"
CA = "/etc/bundle/ca.crt"
_LIMIT = 64 << 10  # bytes read of a list of sources
_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file that apt reads sources from, and where they are."""

    path: str
    digest: Digest
    uris: tuple[str, ...]

    def elsewhere(self, site: Site) -> tuple[str, ...]:
        """Those that are not the site's. A folder of the host itself is its own business; a CD would be waited for."""
        ours = ("file:", "copy:", f"https://{repositories_host(site)}/")
        return tuple(uri for uri in self.uris if not uri.startswith(ours))


def uris_of(path: str, text: str) -> tuple[str, ...]:
    """Where the sources in the text of a file are that apt would use (sources.list(5), both formats)."""
    if path.endswith(".sources"):
        return tuple(uri for stanza in re.split(r"\n\s*\n", text) for uri in _stanza(stanza))
    return tuple(match[1] for line in text.splitlines() if (match := _LINE.match(line)))


def _stanza(text: str) -> tuple[str, ...]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable"):
        return ()
    return tuple(fields.get("uris", "").split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files of sources, and those that we set aside."""

    listed: tuple[Listed, ...] = ()
    kept: tuple[str, ...] = ()


def _found(said: str) -> Found:
    listed, kept = [], []
    for line in said.splitlines():
        digest, body, path = line.split(" ", 2)
        if path.startswith(f"{BEFORE}/"):
            kept.append(path.removeprefix(BEFORE))
        else:
            text = base64.b64decode(body, validate=True).decode("utf-8", "replace")
            listed.append(Listed(path=path, digest=Digest(digest), uris=uris_of(path, text)))
    return Found(listed=tuple(listed), kept=tuple(kept))


FOUND = Ask(
    name="apt's sources",
    script=f"""for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \\
  {BEFORE}/etc/apt/sources.list {BEFORE}/etc/apt/sources.list.d/*; do
  [ -f "$f" ] || continue
  h=$(sha256sum < "$f") && b=$(head -c {_LIMIT} -- "$f" | base64 -w0) || exit 1
  printf '%s %s %s\\n' "${{h%% *}}" "$b" "$f"
done""",
    reading=_found,
    bare=Found(),
)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Our list of sources for the host's own release, and every other list that points elsewhere out of the way.

    `base` is what the archives lie below; `archives` has their names by release."""

    site: Site
    base: str
    archives: Mapping[str, tuple[str, ...]]

    def asks(self) -> tuple[Fact[Any], ...]:
        return (SYSTEM, FOUND, *self._file("").asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        release = facts[SYSTEM].release
        if release not in self.archives:
            raise NotCarried(component="base", missing=(f"packages for {release}, which {facts.host} runs",))
        stanzas = (
            apt_sources(uri=f"{self.base}/{archive}", release=release, signed_by=KEYRING)
            for archive in self.archives[release]
        )
        yield from self._file("\n".join(stanzas)).wanted(facts)
        for listed in facts[FOUND].listed:
            if listed.path != OURS and (elsewhere := listed.elsewhere(self.site)):
                why = f"it points to {elsewhere[0]}"
                yield SetAside(path=listed.path, aside=before(listed.path), old=listed.digest, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._file("").unwanted(facts, purge=purge)
        there = {listed.path for listed in facts[FOUND].listed}
        for path in facts[FOUND].kept:
            if path not in there:
                yield SetAside(path=before(path), aside=path, reason="it was here before")

    def _file(self, text: str) -> File:
        return File(path=OURS, content=text, why="the site's archives are not among apt's sources")


def archives_of(lock: Lock) -> Mapping[str, tuple[str, ...]]:
    """The archives that the site has for each release."""
    found: dict[str, set[str]] = {}
    for deb in lock.debs:
        found.setdefault(deb.release, set()).add(site_archive(deb.archive))
    return {release: tuple(sorted(archives)) for release, archives in found.items()}


def options_text(site: Site) -> str:
    name = repositories_host(site)
    return f"""// Written by bundle.
// The site's own CA, also before the host trusts it; no proxy stands between a host and its site.
Acquire::https::{name}::CaInfo "{CA}";
Acquire::https::{name}::Proxy "DIRECT";
// Its name stands in /etc/hosts; apt would first ask DNS for a service record, which hosts may not have yet.
Acquire::EnableSrvRecords "false";
// The site's archives have no translations.
Acquire::Languages "none";
// Packages change with a release of the site, by its plan, and not by themselves.
APT::Periodic::Enable "0";
APT::Periodic::Update-Package-Lists "0";
APT::Periodic::Unattended-Upgrade "0";
"""
