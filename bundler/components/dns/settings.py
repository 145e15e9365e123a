"""What `components.dns` in site.yaml may say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.errors import Malformed
from bundler.model.document import Fields
from bundler.model.json_schema import listing, record, text
from bundler.model.site import Address
from bundler.model.site_scalars import DOMAIN_NAME, HOST_NAME, parse_address

_MOST = 256
_RECORD = rf"(?:\*|{HOST_NAME})(?:\.{HOST_NAME})*"
_ADDRESSES = listing("Addresses, IPv4 or IPv6.", text("An address.", "[0-9A-Fa-f:.]+", longest=45), minItems=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings:
    """`forward`: zones that other name servers answer for; `records`: more names, relative to the site's domain."""

    forward: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    records: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)


SCHEMA: Mapping[str, Any] = record(
    "The site's name servers.",
    {
        "forward": {
            "description": "Zones that other name servers answer for; `.` is everything that the site does not know.",
            "type": "object",
            "propertyNames": {"pattern": rf"^(?:\.|{DOMAIN_NAME})$", "maxLength": 253},
            "additionalProperties": _ADDRESSES,
        },
        "records": {
            "description": "More names below the site's domain, such as `printer` or `*.apps`.",
            "type": "object",
            "propertyNames": {"pattern": rf"^(?:{_RECORD})$", "maxLength": 63},
            "additionalProperties": _ADDRESSES,
        },
    },
)


def parse_settings(fields: Fields) -> DnsSettings:
    return fields.build(
        DnsSettings,
        forward=_addresses(fields, "forward", check_zone),
        records=_addresses(fields, "records", check_record),
    )


def check_zone(text: str) -> str:
    """A zone's name without the last dot, or `.`. Raises Malformed."""
    if text != "." and (len(text) > 253 or not re.fullmatch(DOMAIN_NAME, text)):
        raise Malformed(found=repr(text[:80]), expected="a zone such as corp.example, lower case, or `.`")
    return text


def check_record(text: str) -> str:
    """A name relative to the site's domain; `*` may be its first label. Raises Malformed."""
    if len(text) > 63 or not re.fullmatch(_RECORD, text):
        expected = "a name of 63 characters below the site's domain, such as printer, or *.apps for all below apps"
        raise Malformed(found=repr(text[:80]), expected=expected)
    return text


def _addresses(fields: Fields, key: str, check: Any) -> dict[str, tuple[Address, ...]]:
    def read(inner: Fields, name: str) -> tuple[Address, ...]:
        found = inner.values(name, parse_address)
        if inner.ok and not 0 < len(found) <= _MOST:
            inner.fail_at(name, found=f"{len(found)} addresses", expected=f"1 to {_MOST}")
        return found

    found = dict(fields.named(key, read, check=check))
    if len(found) > _MOST:
        fields.fail_at(key, found=f"{len(found)} names", expected=f"{_MOST} at most")
    return found
