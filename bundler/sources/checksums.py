"""Vendors' lists of checksums: `sha256sum` lines, BSD's `SHA256 (NAME) = HEX`, or one bare digest; signed or not."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bundler.catalog.manifests import Manifests
from bundler.errors import ChecksumUnknown, Unsupported
from bundler.model.component import Checksums, FileRequest
from bundler.model.digest import Digest
from bundler.signing.openpgp_verify import clear_text, verify_clear, verify_detached
from bundler.support.files import read_file
from bundler.transport import Request, Transport

_LARGEST = 16 << 20  # bytes of a list
_SIGNATURE = 1 << 20
_SHOWN = 5
_HEX = r"([0-9A-Fa-f]{32,128})"
_LINE = re.compile(rf"{_HEX}[ \t]+\*?(\S.*)")
_BSD = re.compile(rf"([A-Za-z0-9-]+) ?\((.+)\) ?= ?{_HEX}")
_BARE = re.compile(_HEX)
_BY_LENGTH = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 64: "SHA-256", 96: "SHA-384", 128: "SHA-512"}
_BSD_NAMES = {"SHA256": "SHA-256", "SHA2-256": "SHA-256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. `path` is empty where the list is about one file without naming it."""

    path: str
    algorithm: str
    value: str


def vendor_digest(
    request: FileRequest,
    checksums: Checksums,
    *,
    locate: Callable[[str], Request | Path],
    transport: Transport,
    manifests: Manifests,
) -> Digest:
    """What the vendor's list says the file's SHA-256 is; its signature is checked first, if it has one.

    `locate` gives a request, or for `file:` a path, for a URL. Raises BadSignature, ChecksumUnknown, Unsupported for
    a list of other algorithms, and what the transport raises.
    """

    def read(url: str, limit: int) -> bytes:
        source = locate(url)
        if isinstance(source, Request):
            return transport.get(source, limit=limit).body
        return read_file(source, limit=limit)

    data = read(checksums.url, _LARGEST)
    if checksums.keyring:
        keyring = manifests.file(checksums.keyring)
        if checksums.signature:
            signature = read(checksums.signature, _SIGNATURE)
            verify_detached(data, signature, keyring=keyring, what=checksums.url)
        else:
            data = verify_clear(data, keyring=keyring, what=checksums.url)
    text = clear_text(data).decode("utf-8", "replace")
    return find_digest(text, file=request.name, url=request.url, source=checksums.url)


def find_digest(text: str, *, file: str, url: str, source: str) -> Digest:
    """The digest that a list gives to the file at `url`, or to one named `file`.

    Of several paths with the same last segment, the one that the URL ends in. Raises ChecksumUnknown, Unsupported.
    """
    entries = list(parse_checksums(text))
    path = unquote(urlsplit(url).path if "//" in url else url.removeprefix("file:"))
    named = _named(entries, path.rpartition("/")[2]) or _named(entries, file)
    if not named:
        names = list(dict.fromkeys(entry.path for entry in entries))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        why = f"it names {', '.join(names[:_SHOWN])}{more}" if names else "it holds no checksum"
        raise ChecksumUnknown(file=file, source=source, why=why)
    values = _values(named)
    if not values:
        others = ", ".join(sorted({entry.algorithm for entry in named}))
        why = f"{source} has only {others} of {file}. Check the file by other means and give its SHA-256 as `digest`."
        raise Unsupported(what=f"the checksum {others}", why=why)
    if len(values) > 1:
        nearest = [entry for entry in named if f"/{path}".endswith(f"/{entry.path}")]
        depth = max((entry.path.count("/") for entry in nearest), default=0)
        values = _values([entry for entry in nearest if entry.path.count("/") == depth]) or values
    if len(values) > 1:
        raise ChecksumUnknown(file=file, source=source, why=f"it has several: {', '.join(values)}")
    return Digest(values[0])


def parse_checksums(text: str) -> Iterator[Entry]:
    """Every line that is one of a known form; a bare digest only if there is nothing else."""
    lines = [line for line in (each.strip() for each in text.lstrip("\ufeff").splitlines()) if line and line[0] != "#"]
    if len(lines) == 1 and (match := _BARE.fullmatch(lines[0])):
        yield Entry(path="", algorithm=_algorithm(match[1]), value=match[1].lower())
    for line in lines:
        if match := _BSD.fullmatch(line):
            algorithm = _BSD_NAMES.get(match[1].upper(), match[1].upper())
            yield Entry(path=_path(match[2]), algorithm=algorithm, value=match[3].lower())
        elif match := _LINE.fullmatch(line):
            yield Entry(path=_path(match[2]), algorithm=_algorithm(match[1]), value=match[1].lower())


def _path(text: str) -> str:
    return re.sub(r"^(?:\.?/)+", "", text)


def _algorithm(value: str) -> str:
    return _BY_LENGTH.get(len(value), f"of {4 * len(value)} bits")


def _named(entries: list[Entry], name: str) -> list[Entry]:
    return [entry for entry in entries if entry.path.rpartition("/")[2] in ("", name)]


def _values(entries: list[Entry]) -> list[str]:
    """The SHA-256 values among them, each once."""
    return list(dict.fromkeys(e.value for e in entries if e.algorithm == "SHA-256" and len(e.value) == 64))
