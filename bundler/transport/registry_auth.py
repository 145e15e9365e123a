"""Answers to a registry's 401: the token flow (distribution-spec, Docker token authentication) and Basic."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from bundler.errors import AuthenticationFailed, Malformed
from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.transport.registry_credentials import Credential, Credentials
from bundler.transport.request import Request
from bundler.transport.transport import Transport
from bundler.transport.urls import origin_of, redact

# RFC 9110 section 11.6.1: a scheme, then parameters; commas stand between parameters and between challenges.
_CHALLENGE = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=[\s,]|$)\s*(?!=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
_SCOPE = re.compile(r"repository:[^\s:]+:pull")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LIFETIME = 60  # seconds, where the answer does not say
_MARGIN = 10  # seconds before its end when a token is not used any more
# Token services on other hosts than their registry's.
_REALMS = {"registry-1.docker.io": "https://auth.docker.io"}


@dataclass(frozen=True, slots=True)
class _Known:
    value: str = field(repr=False)
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """The authorizer of what is done in one repository of the registry at `base`: pulls, or what `scopes` say."""

    owner: "RegistryAuth"
    base: str
    repository: str
    scopes: tuple[str, ...] = ()

    def header(self) -> str | None:
        return self.owner.known(self)

    def renew(self, challenge: str, *, refused: str | None) -> str | None:
        return self.owner.renew(self, challenge, refused)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """One value, with nothing behind it."""

    value: str | None = field(repr=False)

    def header(self) -> str | None:
        return self.value

    def renew(self, challenge: str, *, refused: str | None) -> str | None:
        return None


class RegistryAuth:
    """Keeps what registries accepted, for all threads.

    A credential is shown to its registry's own origin, or to a token realm on its host or known for it (`realms`:
    registry host to realm URL); any other realm is asked for an anonymous token.
    """

    def __init__(
        self, *, transport: Transport, credentials: Credentials, realms: Mapping[str, str] | None = None
    ) -> None:
        self._transport, self._credentials = transport, credentials
        self._realms = {**_REALMS, **(realms or {})}
        self._monotonic = transport.config.monotonic
        self._values: dict[_Access, _Known] = {}
        self._lock = threading.Lock()
        self._locks: dict[_Access, threading.Lock] = {}

    def pull(self, base: str, repository: str) -> _Access:
        return _Access(owner=self, base=base, repository=repository)

    def push(self, base: str, repository: str, *, source: str = "") -> _Access:
        """For pushes to `repository`, with blobs taken over from `source` where one is named."""
        more = (f"repository:{source}:pull",) if source else ()
        return _Access(
            owner=self, base=base, repository=repository, scopes=(f"repository:{repository}:pull,push", *more)
        )

    def known(self, access: _Access) -> str | None:
        found = self._values.get(access)
        return found.value if found is not None and found.until > self._monotonic() else None

    def renew(self, access: _Access, challenge: str, refused: str | None) -> str:
        """A header value that answers `challenge`. Threads that come at once share one answer."""
        with self._lock:
            lock = self._locks.setdefault(access, threading.Lock())
        with lock:
            known = self.known(access)
            if known is None or known == refused:
                found = self._answer(access, parse_challenges(challenge))
                if found.value == refused:
                    why = f"the credentials for {_host(access.base)} are refused"
                    raise AuthenticationFailed(url=access.base, why=why)
                self._values[access] = found
            return self._values[access].value

    def _answer(self, access: _Access, challenges: Mapping[str, Mapping[str, str]]) -> _Known:
        if "bearer" in challenges:
            return self._token(access, challenges["bearer"])
        if "basic" in challenges:
            credential = self._credentials.find(_host(access.base), access.repository)
            if credential is None or not credential.username:
                why = f"no credentials for {_host(access.base)} are configured"
                raise AuthenticationFailed(url=access.base, why=why)
            return _Known(credential.basic, float("inf"))
        schemes = ", ".join(sorted(challenges)) or "nothing that it names"
        raise AuthenticationFailed(url=access.base, why=f"it asks for {schemes[:80]}, not for Basic or Bearer")

    def _token(self, access: _Access, challenge: Mapping[str, str]) -> _Known:
        realm = challenge.get("realm", "")
        self._check_realm(access, realm)
        asked = challenge.get("scope", "")
        pulled = asked if _SCOPE.fullmatch(asked) else f"repository:{access.repository}:pull"
        service = {"service": challenge["service"]} if "service" in challenge else {}
        credential = self._credentials.find(_host(access.base), access.repository)
        trusted = self._is_known(access.base, realm)
        try:
            request = _token_request(realm, access.scopes or (pulled,), service, credential if trusted else None)
            answer = self._transport.get(request, limit=LIMITS.token)
        except AuthenticationFailed as error:
            if credential is not None and not trusted:
                why = f"its token realm {_host(realm)} is not known to be its own, so it got no credentials"
                raise AuthenticationFailed(url=access.base, why=why) from None
            raise error
        return self._read_token(access, answer.body)

    def _check_realm(self, access: _Access, realm: str) -> None:
        try:
            scheme, _, _ = origin_of(realm)
        except ValueError:
            raise AuthenticationFailed(url=access.base, why="it names no token realm") from None
        if scheme == "http" and origin_of(access.base)[0] == "https":
            raise AuthenticationFailed(url=access.base, why=f"its token realm {redact(realm)} is plain http")

    def _is_known(self, base: str, realm: str) -> bool:
        if urlsplit(base).hostname == urlsplit(realm).hostname:
            return True
        declared = self._realms.get(_host(base))
        return declared is not None and origin_of(declared) == origin_of(realm)

    def _read_token(self, access: _Access, body: bytes) -> _Known:
        """`token`, or OAuth2's `access_token`; both mean the same."""
        try:
            answer = canonical.load(body, limit=LIMITS.token)
        except Malformed:
            answer = None
        fields = answer if isinstance(answer, dict) else {}
        token = fields.get("token") or fields.get("access_token")
        lifetime = fields.get("expires_in", _LIFETIME)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(lifetime, int):
            raise AuthenticationFailed(url=access.base, why="its token service answers without a token")
        return _Known(f"Bearer {token}", self._monotonic() + max(lifetime - _MARGIN, lifetime / 2))


def parse_challenges(text: str) -> dict[str, dict[str, str]]:
    """WWW-Authenticate as parameters by scheme, both in lower case; the first of a scheme counts. Never fails."""
    found: dict[str, dict[str, str]] = {}
    at = 0
    while match := _CHALLENGE.match(text, at):
        parameters: dict[str, str] = {}
        at = match.end()
        while parameter := _PARAMETER.match(text, at):
            quoted, bare = parameter[2], parameter[3]
            parameters.setdefault(parameter[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if bare is None else bare)
            at = parameter.end()
        found.setdefault(match[1].lower(), parameters)
    return found


def _token_request(
    realm: str, scopes: Sequence[str], query: Mapping[str, str], credential: Credential | None
) -> Request:
    """Several scopes are several parameters of a GET, and one of a POST (OAuth2: with spaces between)."""
    what = f"a token from {redact(realm)}"
    if credential is not None and credential.identity_token:
        form = {"scope": " ".join(scopes), **query, "grant_type": "refresh_token", "client_id": "bundler"}
        body = urlencode({**form, "refresh_token": credential.identity_token}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request(url=realm, method="POST", headers=headers, body=body, what=what)
    if credential is not None and credential.username:
        query = {**query, "account": credential.username}
    asked = urlencode({"scope": scopes, **query}, doseq=True)
    url = f"{realm}{'&' if urlsplit(realm).query else '?'}{asked}"
    return Request(url=url, authorizer=_Fixed(credential.basic if credential is not None else None), what=what)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
