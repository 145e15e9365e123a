"""`bundle site`: write a first site.yaml, and check one by everything that needs no host."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundler.components import settings_parsers, settings_schemas
from bundler.errors import CannotWrite, Malformed, NotReadable
from bundler.model.limits import LIMITS
from bundler.model.site import Address, Site
from bundler.model.site_parser import parse_site
from bundler.model.site_scalars import check_host_name, parse_address
from bundler.model.site_schema import site_schema
from bundler.support.files import create_file, read_text
from bundler.workflows.site_example import EXAMPLE_HOSTS, write_example


def check_site(path: Path) -> Site:
    """Raises NotReadable, and InvalidDocument with every problem."""
    if not os.path.lexists(path):
        raise NotReadable(path=str(path), why="it is not there", advice="`bundle site init` writes an example.")
    return parse_site(read_text(path, limit=LIMITS.manifest), file=str(path), components=settings_parsers())


def init_site(path: Path, hosts: Sequence[tuple[str, Address]]) -> None:
    """Write an example with these hosts, or with three of its own. Raises CannotWrite, also when there is a file."""
    if os.path.lexists(path):
        raise CannotWrite(path=str(path), why="it exists, and what you wrote is not replaced; name another with -o")
    text = write_example(hosts or EXAMPLE_HOSTS, components=tuple(settings_parsers()))
    create_file(path, text.encode(), mode=0o644)


def schema() -> Mapping[str, Any]:
    """The JSON schema of site.yaml with the settings of all components."""
    return site_schema(settings_schemas())


def parse_hosts(text: str) -> tuple[tuple[str, Address], ...]:
    """`NAME=ADDRESS,NAME=ADDRESS`, each name and address once. Raises Malformed."""
    hosts = []
    for part in text.split(","):
        name, equals, address = part.strip().partition("=")
        if not equals:
            raise Malformed(found=repr(part[:80]), expected="NAME=ADDRESS,NAME=ADDRESS,... for --hosts")
        hosts.append((check_host_name(name), parse_address(address)))
    if len({name for name, _ in hosts}) < len(hosts) or len({address for _, address in hosts}) < len(hosts):
        raise Malformed(found=repr(text[:80]), expected="each name and each address once in --hosts")
    return tuple(hosts)
