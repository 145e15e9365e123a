"""What `components.registry` in site.yaml may say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.document import Fields
from bundler.model.json_schema import LABEL, listing, number, record, word
from bundler.model.names import check_label
from bundler.model.site_scalars import parse_port

PORT, WRITABLE_PORT = 5000, 5001
DEBUG_PORT, WRITABLE_DEBUG_PORT = 5002, 5003  # on 127.0.0.1: health and metrics
BUILDER = "builder"
HOSTS = "site_hosts"  # no label: nobody that site.yaml names is called so
_TAKEN = {
    443: "the repositories",
    DEBUG_PORT: "the registry's metrics",
    WRITABLE_DEBUG_PORT: "the writable one's metrics",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """`users` may pull what the release carries, and so may the site's own hosts, as HOSTS: without any, everybody on
    the site's networks may. `builders` push to the writable registry and pull from it."""

    port: int = PORT
    writable_port: int = WRITABLE_PORT
    users: tuple[str, ...] = ()
    builders: tuple[str, ...] = (BUILDER,)


_USER = word("A user's name; the password is made on the site and kept in its secrets.", LABEL, longest=63)
SCHEMA: Mapping[str, Any] = record(
    "The site's registries.",
    {
        "port": number("Where what the release carries is pulled from.", 1, 65535, default=PORT),
        "writable_port": number("Where what the site builds itself is pushed to.", 1, 65535, default=WRITABLE_PORT),
        "auth": record(
            "Who may do what.",
            {
                "users": listing(
                    "Who may pull what the release carries; without it everybody may. "
                    "The site's own hosts may in any case: root there has a login of its own.",
                    _USER,
                ),
                "builders": listing("Who may push to the writable registry, and pull.", _USER, minItems=1),
            },
        ),
    },
)


def parse_settings(fields: Fields) -> RegistrySettings:
    port = fields.value("port", parse_port, default=PORT)
    writable_port = fields.value("writable_port", parse_port, default=WRITABLE_PORT)
    if fields.ok and port == writable_port:
        fields.fail_at("writable_port", found=f"{port} twice", expected="another port than `port`")
    for key, value in (("port", port), ("writable_port", writable_port)):
        if value in _TAKEN:
            fields.fail_at(key, found=f"port {value}, which is that of {_TAKEN[value]}", expected="another port")
    nobody: tuple[tuple[str, ...], tuple[str, ...]] = ((), (BUILDER,))
    users, builders = fields.nested("auth", _auth, default=nobody)
    return fields.build(RegistrySettings, port=port, writable_port=writable_port, users=users, builders=builders)


def _auth(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    users = fields.values("users", check_label, optional=True)
    builders = fields.values("builders", check_label, optional=True) if fields.has("builders") else (BUILDER,)
    for key, names in (("users", users), ("builders", builders)):
        if fields.ok and len(set(names)) < len(names):
            fields.fail_at(key, found="a user twice", expected="each once")
    if fields.ok and not builders:
        fields.fail_at("builders", found="nobody", expected=f"one user at least, or nothing for {BUILDER}")
    return users, builders
