"""Root's logins: the site's registry among those that podman, docker and others have a password for."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.registry.settings import HOSTS
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import Action, Remove, SetAside, WriteFile, before
from bundler.steps.facts import Ask, Fact, FileFact, HostFacts

# Docker's own file, which podman, buildah and skopeo read after theirs (containers-auth.json(5)), and helm too: one
# place for all. What root is logged in to by `podman login` is in theirs, and goes before ours.
PATH = "/root/.docker/config.json"
_MODE = 0o600
_ENTRY = "auths"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What lies at PATH: its digest (None: nothing), mode and content; `found` is None where that is no such file."""

    digest: Digest | None = None
    mode: int = _MODE
    found: dict[str, Any] | None = field(default_factory=dict, repr=False)  # passwords of others are in it


def _known(said: str) -> Known:
    """Of what cannot be read nothing is quoted: it raises nothing."""
    mode, _, body = said.strip().partition(" ")
    if not mode:
        return Known()
    data = base64.b64decode(body)
    return Known(digest=Digest.of(data), mode=int(mode, 8), found=_logins(data))


def _logins(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get(_ENTRY, {}), dict)
    return found if whole else None


@dataclass(frozen=True, kw_only=True)
class Logins:
    """Root's programs show `token` to the site's `registries`; without one they have no login of ours.

    Other entries of the file stay, and so does one of these registries that somebody else logged in to. What is no
    JSON, which no program can read, is set aside.
    """

    registries: tuple[str, ...]
    token: Secret | None

    @property
    def fact(self) -> Ask[Known]:
        script = f"""f={PATH}; [ -f "$f" ] || exit 0
m=$(stat -L -c %a -- "$f") && b=$(base64 -w0 < "$f") && printf '%s %s\\n' "$m" "$b\""""
        return Ask(name="root's logins", script=script, reading=_known, bare=Known())

    @property
    def _kept(self) -> FileFact:
        return FileFact(path=before(PATH), secret=True)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact, self._kept)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if self.token is None:
            yield from self._taken_out(facts, "the site's registry wants no password")
            return
        have = facts[self.fact]
        old, found = have.digest, have.found
        if found is None:
            yield SetAside(path=PATH, aside=before(PATH), old=old, reason="it is no JSON of logins")
            old, found = None, {}
        others = _others(found)
        ours = {name: {"auth": self.token.reveal()} for name in self.registries if name not in others}
        new = {**found, _ENTRY: {**others, **ours}}
        if why := _difference(have, found, new):
            yield _write(new, old, why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._taken_out(facts, "it is ours")
        found = facts[self.fact].found
        if facts[self._kept] is not None and found is not None and not _without_ours(found):
            yield SetAside(path=before(PATH), aside=PATH, reason="it was here before")

    def _taken_out(self, facts: HostFacts, reason: str) -> Iterator[Action]:
        have = facts[self.fact]
        left = _without_ours(have.found)
        if have.found is None or left == have.found:
            return
        yield _write(left, have.digest, reason) if left else Remove(path=PATH, reason=reason)


def _difference(have: Known, found: dict[str, Any], new: dict[str, Any]) -> str:
    if found != new:
        first = _others(found) == found.get(_ENTRY, {})
        return "the site's registry wants a password" if first else "it has another login of ours"
    if have.mode != _MODE:
        return f"it is {have.mode:o}, not {_MODE:o}"
    return ""


def _others(found: dict[str, Any]) -> dict[str, Any]:
    """The entries that are not ours."""
    return {name: entry for name, entry in found.get(_ENTRY, {}).items() if not _is_ours(entry)}


def _without_ours(found: dict[str, Any] | None) -> dict[str, Any]:
    """What the file has besides; nothing where it has nothing else."""
    if found is None or _others(found) == found.get(_ENTRY, {}):
        return found or {}
    others = {_ENTRY: _others(found)} if _others(found) else {}
    return {key: value for key, value in found.items() if key != _ENTRY} | others


def _is_ours(entry: Any) -> bool:
    """By its user: its password may be of a time before."""
    if not isinstance(entry, dict) or not isinstance(entry.get("auth"), str):
        return False
    try:
        return base64.b64decode(entry["auth"], validate=True).startswith(f"{HOSTS}:".encode())
    except (binascii.Error, ValueError):
        return False


def _write(logins: dict[str, Any], old: Digest | None, reason: str) -> WriteFile:
    text = json.dumps(logins, indent="\t") + "\n"
    return WriteFile(path=PATH, content=Secret(text), old=old, mode=_MODE, reason=reason)
