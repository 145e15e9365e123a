"""Credentials for registries, from where docker, podman and skopeo keep them (config.json, auth.json, helpers)."""

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.errors import AuthenticationFailed, InvalidDocument, Malformed, Problem
from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.support.files import read_file
from bundler.support.run import run

_HELPER = re.compile(r"[a-z0-9-]+")
_HELPER_TIMEOUT = 30
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEY = "https://index.docker.io/v1/"  # what docker login and the helpers call Docker Hub
_BEARER_USER = "<token>"  # the helpers' user name for a secret that is an identity token


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user name and password, or an identity token (an OAuth2 refresh token)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The Basic header value (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Looks a registry up in each file in turn. Files that are not there hold nothing."""

    files: Sequence[Path] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Credentials":
        """The files of containers-auth.json(5), then docker's own."""
        home = Path(environment.get("HOME", "/"))
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        named, runtime = environment.get("REGISTRY_AUTH_FILE"), environment.get("XDG_RUNTIME_DIR")
        return cls(
            files=(
                *((Path(named),) if named else ()),
                *((Path(runtime, "containers/auth.json"),) if runtime else ()),
                config / "containers/auth.json",
                Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json"),
            )
        )

    def find(self, host: str, repository: str) -> Credential | None:
        """What to show to the registry at `host` (with port) for `repository`; None where nothing is kept.

        Raises NotReadable or InvalidDocument for a broken file, ToolMissing or AuthenticationFailed for a helper.
        """
        for path in self.files:
            if path.exists():
                try:
                    found = _find(canonical.load(read_file(path, limit=LIMITS.metadata)), host, repository)
                except Malformed as error:
                    problem = Problem(file=str(path), line=1, found=error.found, expected=error.expected)
                    raise InvalidDocument(problems=(problem,)) from None
                if found is not None:
                    return found
        return None


def _find(config: Any, host: str, repository: str) -> Credential | None:
    names = tuple(_names(host, repository))
    helper = _lookup(_table(config, "credHelpers"), names)
    if helper is not None:
        return _ask(helper, host)
    entry = _lookup(_table(config, "auths"), names)
    if isinstance(entry, dict) and (found := _read_entry(entry)) is not None:
        return found
    store = config.get("credsStore")
    return _ask(store, host) if store else None


def _names(host: str, repository: str) -> Iterator[str]:
    """Keys, the most special first: auth.json may hold one for each namespace."""
    parts = repository.split("/")
    for name in (host, *(each for each in _HUB if host in _HUB and each != host)):
        yield from (f"{name}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1))
        yield name


def _lookup(table: Mapping[str, Any], names: Sequence[str]) -> Any:
    """`docker login` writes some keys as URLs of old APIs."""
    bare = {re.sub(r"^https?://|/(?:v[12])?/?$", "", key): value for key, value in table.items()}
    return next((bare[name] for name in names if name in bare), None)


def _table(config: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(config, dict) or not isinstance(config.get(key, {}), dict):
        raise Malformed(found=f"no object for {key!r}", expected="docker's config.json")
    table: Mapping[str, Any] = config.get(key, {})
    return table


def _read_entry(entry: Mapping[str, Any]) -> Credential | None:
    """One of `auths`; docker leaves an empty one where a helper keeps the secret."""
    identity, packed = entry.get("identitytoken") or "", entry.get("auth") or ""
    if not isinstance(identity, str) or not isinstance(packed, str):
        raise Malformed(found="an entry of `auths` that is no text", expected="auth: base64 of USER:PASSWORD")
    if not packed and not identity:
        return None
    try:
        username, _, password = base64.b64decode(packed, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Malformed(found="an `auth` that does not decode", expected="base64 of USER:PASSWORD") from None
    return Credential(username=username, password=password, identity_token=identity)


def _ask(helper: Any, host: str) -> Credential | None:
    """The docker-credential-helpers protocol: the server on stdin, JSON on stdout."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise Malformed(found=f"the credential helper {str(helper)[:40]!r}", expected="a name of [a-z0-9-]+")
    program = f"docker-credential-{helper}"
    server = _HUB_KEY if host in _HUB else host
    outcome = run([program, "get"], needed_for=f"the credentials of {host}", timeout=_HELPER_TIMEOUT, stdin=server)
    if outcome.code != 0:
        if "not found" in outcome.stdout + outcome.stderr:
            return None
        raise AuthenticationFailed(url=host, why=f"{program} ended with code {outcome.code}")
    answer = canonical.load(outcome.stdout.encode(), limit=LIMITS.token)
    fields = answer if isinstance(answer, dict) else {}
    username, secret = fields.get("Username"), fields.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Malformed(found=f"another answer of {program}", expected="JSON with Username and Secret")
    if username == _BEARER_USER:
        return Credential(identity_token=secret)
    return Credential(username=username, password=secret)
