"""A goal for tests of components: a small site with two site hosts, and a tiny release that has what they need."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundler.components import components
from bundler.model.asked import Asked
from bundler.model.site_parser import SettingsParser, parse_site
from bundler.secrets.vault import Vault
from bundler.steps.step import Goal
from tests.bundles import IMAGES, TinyBundle, tiny_bundle
from tests.content import make_deb

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PACKAGES = ("docker-registry", "nginx")
SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 10.77.0.11, roles: [site, control-plane]}
- {name: n2, address: 10.77.0.12, roles: [site]}
- {name: n3, address: 10.77.1.13, roles: [worker]}
networks:
- {name: main, subnet: 10.77.0.0/20}
vips: {api: 10.77.0.100}
"""


def asked(component: str, **more: Any) -> Asked:
    """What a component of the catalog asks for: nothing but `more`."""
    nothing = ("images", "revealed", "charts", "wheels", "packages", "files", "provides", "tools", "silences")
    return Asked(**{**dict.fromkeys(nothing, ()), "component": component, "version": "", **more})


def archive_of(name: str, data: bytes) -> bytes:
    """A .tgz with one program."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o755
        archive.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def release(folder: Path, **more: Any) -> TinyBundle:
    """A bundle that has what the site's services need, by name: packages without programs, a script for CoreDNS."""
    coredns = archive_of("coredns", b"#!/bin/sh\nexit 0\n")
    facts: dict[str, Any] = {
        "debs": tuple(make_deb(name, "2.0-1", "amd64") for name in PACKAGES),
        "files": {"coredns_1.14.4_linux_amd64.tgz": coredns},
        "images": IMAGES,
    }
    return tiny_bundle(folder, **{**facts, **more})


def goal_of(
    bundle: TinyBundle, settings: Mapping[str, SettingsParser], *, text: str = SITE, now: datetime = NOW
) -> Goal:
    site = parse_site(text, file="site.yaml", components=settings)
    return Goal(
        site=site,
        text=text,
        lock=bundle.lock,
        statement=bundle.statement,
        vault=Vault.empty(),
        now=now,
        components=tuple(each for each in components() if not each.catalog),
    )
