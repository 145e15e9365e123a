"""A site's receipt (format 1): what it holds, said and signed by the site itself, so that a delta can be made for it.

{"type":"bundle-receipt", …}\\n      canonical JSON
<the raw Ed25519 signature over that line, in hexadecimal>\\n
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bundler.errors import Malformed, MalformedReceipt
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.exact import check_kind, parse_exact
from bundler.model.limits import LIMITS
from bundler.model.names import check_segment
from bundler.model.scalars import parse_time, write_time
from bundler.model.statement import Base, Held, plain_base, plain_held
from bundler.model.statement_parser import parse_base, parse_held

TYPE = "bundle-receipt"
FORMAT = 1
_SIGNATURE = re.compile(rb"[0-9a-f]{128}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`key` is the site's raw public key; `releases` are those that it keeps, `current` is the number of the one that
    it uses, `blobs` are what it holds of them; `free` counts bytes, `made` is in UTC."""

    key: bytes
    tool: str
    made: datetime
    free: int
    current: int
    releases: tuple[Base, ...]
    blobs: tuple[Held, ...]


def write_receipt(receipt: Receipt) -> bytes:
    """The canonical line: what is signed."""
    return canonical.dump(
        {
            "type": TYPE,
            "format": FORMAT,
            "key": receipt.key.hex(),
            "tool": receipt.tool,
            "made": write_time(receipt.made),
            "free": receipt.free,
            "current": receipt.current,
            "releases": [plain_base(base) for base in receipt.releases],
            "blobs": [plain_held(held) for held in receipt.blobs],
        }
    )


def split_receipt(data: bytes, *, path: str) -> tuple[bytes, bytes]:
    """The signed line and the raw signature. Raises MalformedReceipt."""
    line, end, signature = data.partition(b"\n")
    if not end or not _SIGNATURE.fullmatch(signature):
        raise MalformedReceipt(path=path, found="no line with a signature behind one of JSON", expected="these two")
    return line + end, bytes.fromhex(signature.decode().strip())


def parse_receipt(line: bytes, *, path: str) -> Receipt:
    """Raises MalformedReceipt, NewerToolNeeded."""

    def read(fields: Fields) -> Receipt:
        check_kind(fields, path=path, types=(TYPE,), form=FORMAT)
        receipt = fields.document(_receipt)
        _check_numbers(receipt)
        return receipt

    try:
        return parse_exact(line, path=path, read=read, write=write_receipt)
    except Malformed as error:
        raise MalformedReceipt(path=path, found=error.found, expected=error.expected) from None


def _receipt(fields: Fields) -> Receipt:
    values: dict[str, Any] = {
        "key": fields.value("key", lambda text: bytes.fromhex(Digest(text).hex)),
        "tool": fields.value("tool", check_segment),
        "made": fields.value("made", parse_time),
        "free": fields.integer("free"),
        "current": fields.integer("current"),
        "releases": fields.each("releases", parse_base),
        "blobs": fields.each("blobs", parse_held),
    }
    return fields.build(Receipt, **values)


def _check_numbers(receipt: Receipt) -> None:
    if receipt.current >= len(receipt.releases) or any(h.base >= len(receipt.releases) for h in receipt.blobs):
        raise Malformed(found="a number of no release", expected="one of the releases")
    if len(receipt.blobs) > LIMITS.entries:
        raise Malformed(found=f"{len(receipt.blobs)} blobs", expected=f"{LIMITS.entries} at most")
