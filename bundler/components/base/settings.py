"""What `site.yaml` may say under `components: base:`."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.document import Fields
from bundler.model.json_schema import Schema, listing, record, text
from bundler.model.site import Site
from bundler.model.site_scalars import check_domain, parse_address

LEAVE = "leave"  # the value of a kernel setting that is the host's own business
_KEY = r"[a-z][a-z0-9_]*(?:\.[A-Za-z0-9_*-]+)+"
_VALUE = r"[A-Za-z0-9_.,:/+-]+(?: [A-Za-z0-9_.,:/+-]+)*"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """`sources` are the NTP servers that site hosts follow; `sysctls` replace or add to what base sets."""

    sources: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()


def settings_of(site: Site) -> BaseSettings:
    return site.settings_of("base", BaseSettings)


def parse_settings(fields: Fields) -> BaseSettings:
    return fields.build(
        BaseSettings,
        sources=fields.nested("time", _sources, default=()),
        sysctls=fields.named("sysctls", lambda inner, key: inner.value(key, _check_value), check=_check_key),
    )


def _sources(fields: Fields) -> tuple[str, ...]:
    return fields.values("sources", _parse_source, optional=True)


def _parse_source(found: str) -> str:
    """An address, or a name that the site's own servers know."""
    try:
        return str(parse_address(found))
    except Malformed:
        if re.fullmatch("[0-9.:]+", found):
            raise
        return check_domain(found)


def _check_key(found: str) -> str:
    if not re.fullmatch(_KEY, found) or len(found) > 255:
        raise Malformed(found=repr(found[:80]), expected="a kernel setting such as vm.swappiness")
    return found


def _check_value(found: str) -> str:
    if not re.fullmatch(_VALUE, found) or len(found) > 255:
        raise Malformed(found=repr(found[:80]), expected=f"a value as sysctl(8) takes it, or {LEAVE}")
    return found


SCHEMA: Schema = record(
    "Time, the kernel, trust, names, and where every program of a host gets its software from.",
    {
        "time": record(
            "Where the time comes from. Without sources the site hosts agree on one among themselves.",
            {
                "sources": listing(
                    "NTP servers that the site hosts follow; all other hosts follow the site hosts.",
                    text("An address, or a name.", r"[0-9A-Za-z][0-9A-Za-z.:-]*"),
                )
            },
        ),
        "sysctls": {
            "description": f"Kernel settings beside or instead of our own; `{LEAVE}` leaves one as the host has it.",
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{_KEY})$", "maxLength": 255},
            "additionalProperties": text("Its value.", _VALUE),
        },
    },
)
