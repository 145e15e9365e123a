"""The JSON schema of `site.yaml` (draft 2020-12), for editors: completion, descriptions, and most errors as one types.

The parser (bundler.model.site_parser) decides; what a schema cannot say, such as an address given twice, is its alone.
"""

from collections.abc import Mapping
from typing import Any

from bundler.model.json_schema import DRAFT, Schema, flag, label, listing, named, number, record, text, word
from bundler.model.site import ROLES, SITE_ROLE
from bundler.model.site_rules import MOST, SITE_HOSTS
from bundler.model.site_scalars import (
    DEVICE,
    DOMAIN_NAME,
    HOST_KEYS,
    HOST_NAME,
    INTERFACE,
    LONGEST_DOMAIN,
    MTU,
    SIZE,
    USER,
)

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?!0\.0\.0\.0$)(?!2(?:2[4-9]|[345][0-9])\.){_BYTE}(?:\.{_BYTE}){{3}}"
_IPV6 = r"(?!::(?:$|[fF]{4}:))(?![fF]{2}[0-9a-fA-F]{2}:)(?=[^:]*:[^:]*:)[0-9a-fA-F:]+(?:[0-9.]+)?"
_PORT = "(?:[1-9][0-9]{0,4})"
_NAME_ELSEWHERE = rf"(?={DOMAIN_NAME}$|{DOMAIN_NAME}:)[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_NOT_LOCALHOST = "(?!localhost$)"


def site_schema(components: Mapping[str, Mapping[str, Any]]) -> Schema:
    """`components` are the schemas of their settings, by component."""
    return {
        "$schema": DRAFT,
        "title": "A site",
        **record(
            "The hosts, networks and addresses of a site, and the settings of its components.",
            {
                "site": text("The site's name.", _NOT_LOCALHOST + HOST_NAME, longest=63, examples=["lab"]),
                "domain": text(
                    "The DNS domain of the site's own names: registry.DOMAIN, NODE.DOMAIN.",
                    rf"{_NOT_LOCALHOST}(?!(?:.*\.)?cluster\.local$){DOMAIN_NAME}",
                    longest=LONGEST_DOMAIN,
                    examples=["lab.example"],
                ),
                "hosts": listing("The machines.", _host(), maxItems=MOST["hosts"], **_site_hosts()),
                "networks": listing(
                    "The subnets that hosts and virtual addresses are in.", _network(), maxItems=MOST["networks"]
                ),
                "vips": named(
                    "Virtual addresses, by what they are for.",
                    _address("An address in one of the networks, of no host."),
                    maxProperties=MOST["vips"],
                ),
                "components": record(
                    "Settings by component; a component without any has its defaults.",
                    {name: dict(schema) for name, schema in sorted(components.items())},
                ),
            },
            ("site", "domain", "hosts"),
        ),
    }


def _site_hosts() -> Schema:
    role = {"type": "object", "required": ["roles"], "properties": {"roles": {"contains": {"const": SITE_ROLE}}}}
    return {"contains": role, "minContains": 1, "maxContains": SITE_HOSTS}


def _address(description: str) -> Schema:
    return word(description, f"{_IPV4}|{_IPV6}", examples=["10.77.0.11"])


def _host() -> Schema:
    disk = record(
        "A whole device, which its user may erase.",
        {
            "device": word("The device; a name below /dev/disk/by-id outlives a new cable.", DEVICE),
            "use": label("What takes it: ceph; local, for volumes of pods."),
            "size": word("What it holds, rounded down; needed with `use: local`.", SIZE, examples=["3500Gi"]),
        },
        ("device", "use"),
    )
    roles = [{"const": role, "description": about} for role, about in ROLES.items()]
    key = "|".join(HOST_KEYS)
    jump = rf"{HOST_NAME}|(?:{USER}@)?(?:(?:{_IPV4}|{_NAME_ELSEWHERE}|\[{_IPV6}\])(?::{_PORT})?|{_IPV6})"
    return {
        **record(
            "A machine.",
            {
                "name": text("Its host name, without the domain.", _NOT_LOCALHOST + HOST_NAME, longest=63),
                "address": _address("Where it is reached, and where it serves."),
                "roles": listing("What it is for.", {"description": "A role.", "oneOf": roles}, uniqueItems=True),
                "user": text("Who logs in.", USER, longest=64, default="root"),
                "become": {**flag("Become root by sudo, which any other user must."), "default": False},
                "port": number("The port of its sshd.", 1, 65535, default=22),
                "local": {**flag("The machine that the tool runs on: no ssh. One at most."), "default": False},
                "jump": text("What it is reached through: a host here, or [user@]ADDRESS[:PORT].", jump, longest=330),
                "host_key": word(
                    "Its public host key, TYPE BASE64. Without one `bundle site trust-hosts` asks once.",
                    rf"(?:{key}) [A-Za-z0-9+/]+={{0,2}}(?: .*)?",
                    longest=9000,
                ),
                "disks": listing("Devices that components may take.", disk),
                "nics": named(
                    "Network interfaces, by what they are for.", text("An interface.", INTERFACE, longest=15)
                ),
            },
            ("name", "address", "roles"),
        ),
        "allOf": [
            {
                "if": {"required": ["user"], "properties": {"user": {"not": {"const": "root"}}}},
                "then": {"required": ["become"], "properties": {"become": {"const": True}}},
            },
            {"not": {"required": ["local", "jump"], "properties": {"local": {"const": True}}}},
        ],
    }


def _network() -> Schema:
    least, most = MTU
    return record(
        "A subnet.",
        {
            "name": label("Its name."),
            "subnet": word(
                "ADDRESS/LENGTH.",
                rf"{_IPV4}/(?:[1-9]|[12][0-9]|3[0-2])|{_IPV6}/(?:[1-9][0-9]?|1[01][0-9]|12[0-8])",
                examples=["10.77.0.0/24"],
            ),
            "mtu": number("The bytes of a packet on it, where that is not the interface's own.", least, most),
        },
        ("name", "subnet"),
    )
