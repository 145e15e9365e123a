"""Taking secrets out of text that leaves the site: those that are known, in every form that programs write them in, and
what looks like one."""

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from bundler.model.secret import MASK

_GONE = MASK.encode()
_SHORT = 8  # a shorter secret is looked for as a word of its own: within others it would take everything apart
_LINE = 8  # shorter lines of a longer secret say nothing
_BLOCK = 200  # lines of a private key, at most
_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----")
_END = re.compile(rb"-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----")
_ONE_LINE = re.compile(_BEGIN.pattern + rb"[^\r\n]*?" + _END.pattern)
_KEY_LINE = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}\W*$")  # whatever a journal has before it
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_VALUE = rb"(?:\"(?:\\.|[^\"\\\r\n])*\"|\\\".*?\\\"|'[^'\r\n]*'|[^\s\"',;&\\]+)"
_NAME = rb"(?:passw(?:or)?d|passphrase|secret(?:[_-]?key)?|token|(?:api|access|private)[_-]?key|credentials?)"
_TO = rb"\\?[\"']?\s*[=:]\s*"  # between a name and its value, also within a quoted text
_PATTERNS = (  # each with words of which one must be there: to look for those is fast
    (
        (b"passw", b"passphrase", b"secret", b"token", b"key", b"credential"),
        re.compile(rb"(?i)(" + _NAME + _TO + rb"|--" + _NAME + rb"\s+)" + _VALUE),
        rb"\1" + _GONE,
    ),
    ((b"--pass", b"--pwd"), re.compile(rb"(?i)(--(?:pass|pwd)[=\s]+)" + _VALUE), rb"\1" + _GONE),
    (
        (b"authorization", b"cookie", b"x-auth", b"x-api"),
        re.compile(rb"(?i)((?:authorization|cookie|x-(?:auth|api)[\w-]*)" + _TO + rb"\\?[\"']?)[^\r\n]+"),
        rb"\1" + _GONE,
    ),
    ((b"bearer ",), re.compile(rb"(?i)\b(bearer )[A-Za-z0-9._~+/-]{16,}=*"), rb"\1" + _GONE),
    ((b"://",), re.compile(rb"(://[^\s/:@\"']*:)[^\s/@\"']+@"), rb"\1" + _GONE + rb"@"),
    ((b"eyj",), re.compile(rb"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"), _GONE),  # a JSON web token
    ((b"$",), re.compile(rb"\$(?:2[abxy]|1|5|6|7|y|apr1|argon2\w*)\$[./A-Za-z0-9$=,+]{16,}"), _GONE),  # crypt(5)
    ((b"sha}",), re.compile(rb"\{S?SHA\}[A-Za-z0-9+/=]{20,}"), _GONE),
)
_BASIC = re.compile(rb"\b(Basic )([A-Za-z0-9+/]{6,}={0,2})")


class Redactor:
    """Replaces secrets by a mask. `removed` counts what was known, `guessed` what only looked like a secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._words: list[re.Pattern[bytes]] = []
        self._known: dict[bytes, list[bytes]] = {}  # by their beginnings; the longest first
        self._lock = threading.Lock()
        self.removed = self.guessed = 0
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """From now on it is removed. Several threads may call this."""
        with self._lock:
            for form in {form for part in _parts(secret) for form in _forms(part)}:
                if len(form) < _SHORT:
                    self._words.append(re.compile(rb"(?<![A-Za-z0-9])" + re.escape(form) + rb"(?![A-Za-z0-9])"))
                    continue
                same = self._known.setdefault(form[:_SHORT], [])
                same.append(form)
                same.sort(key=lambda each: (-len(each), each))

    def clean(self, data: bytes) -> bytes:
        """Known ones first, then whole private keys, then what looks like a secret."""
        data = self._without_known(data)
        data, count = _ONE_LINE.subn(_GONE, data)
        self.guessed += count
        data = self._without_keys(data)
        data = _BASIC.sub(self._basic, data)
        lower = data.lower()
        for hints, pattern, replacement in _PATTERNS:
            if any(hint in lower for hint in hints):
                data, count = pattern.subn(replacement, data)
                self.guessed += count
        return data

    def _without_known(self, data: bytes) -> bytes:
        for word in self._words:
            data, count = word.subn(_GONE, data)
            self.removed += count
        known, kept, end = self._known, [], 0
        for at in [at for at in range(len(data) - _SHORT + 1) if data[at : at + _SHORT] in known]:
            found = next((each for each in known[data[at : at + _SHORT]] if data.startswith(each, at)), None)
            if found is None:
                continue
            if at >= end:
                kept += [data[end:at], _GONE]
                self.removed += 1
            end = max(end, at + len(found))
        return b"".join((*kept, data[end:])) if kept else data

    def _without_keys(self, data: bytes) -> bytes:
        """Private keys over several lines; also one whose beginning or end is cut off."""
        if not _BEGIN.search(data) and not _END.search(data):
            return data
        kept: list[bytes] = []
        left = 0  # lines of a key that may still come
        for line in data.splitlines(keepends=True):
            if _BEGIN.search(line):
                left = _BLOCK
                self.guessed += 1
                kept.append(_GONE + b"\n")
            elif _END.search(line):
                while not left and kept and _KEY_LINE.search(kept[-1]):
                    kept.pop()
                if not left:
                    self.guessed += 1
                    kept.append(_GONE + b"\n")
                left = 0
            elif left:
                left -= 1
            else:
                kept.append(line)
        return b"".join(kept)

    def _basic(self, match: "re.Match[bytes]") -> bytes:
        """A user and a password, in base64; other words after Basic stay."""
        try:
            if b":" not in base64.b64decode(match.group(2), validate=True):
                return match.group()
        except binascii.Error:
            return match.group()
        self.guessed += 1
        return match.group(1) + _GONE


def _parts(secret: str) -> Iterator[str]:
    """The secret, its lines, and of an htpasswd line the hash. Certificates are for everybody."""
    text = _CERTIFICATE.sub("", secret).strip()
    if not text:
        return
    yield text
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _LINE and not line.startswith("-----"))
    for line in lines:
        user, _, hashed = line.partition(":")
        if user and hashed.startswith("$"):
            yield hashed


def _forms(text: str) -> Iterator[bytes]:
    """As it is, in URLs, in JSON, in hexadecimal, and in base64 with anything before and after it."""
    data = text.encode()
    yield data
    for coded in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield coded.encode()
        yield re.sub("%..", lambda match: match.group().lower(), coded).encode()
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    if len(data) < _SHORT:
        return
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for shift in range(3):
        # Characters that hold bits of what stands before or after it are not its own.
        inner = base64.b64encode(bytes(shift) + data)[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
