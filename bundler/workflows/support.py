"""`bundle support-bundle`: what somebody who was not there needs to see, in one archive without any secret."""

import gzip
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import bundler
from bundler.components import components
from bundler.errors import BundleError
from bundler.hosts.base import Host, Script
from bundler.hosts.connect import connect
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.secret import Secret
from bundler.model.site import SiteHost
from bundler.plan.show import as_json as plan_json
from bundler.plan.show import findings_json
from bundler.secrets.redact import Redactor
from bundler.secrets.unlock import KeyFile, Passphrase, Unlock
from bundler.steps.facts import FileFact
from bundler.steps.step import Component
from bundler.support import clock, parallel
from bundler.support.files import read_end, read_text, write_file
from bundler.workflows.deployment import (
    Deployment,
    Request,
    check_limit,
    deployment,
    hosts_of,
    open_vault,
    secrets_of,
    steps_asked,
)
from bundler.workflows.preflight import look, preflight_checks
from bundler.workflows.secrets import key_beside
from bundler.workflows.site import check_site
from bundler.workflows.status import as_json as status_json
from bundler.workflows.status import status_of
from bundler.workflows.support_host import sections_of, tell

_JOURNAL = 4 << 20  # bytes of the installer's own journal, from its end
FOLDER = "support"  # in the archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What is in the archive: files with their sizes; `missing` is what could not be had, hosts among it, and why.

    `removed` counts the places where a known secret stood, `guessed` those where something only looked like one."""

    path: Path
    files: Mapping[str, int]
    missing: Mapping[str, str]
    removed: int
    guessed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the release says about hosts: its packages, and the secret files of each host; and what the site is to
    run, which may be anything while no release says it."""

    packages: tuple[str, ...] = ()
    secret_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    components: Sequence[Component] = ()


class _Archive:
    """A .tar.gz in memory. Everything is cleaned on its way in."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._data = io.BytesIO()
        self._packed = gzip.GzipFile(fileobj=self._data, mode="wb", compresslevel=6, mtime=0)
        self._tar = tarfile.TarFile(fileobj=self._packed, mode="w")
        self.files: dict[str, int] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        clean = self._redactor.clean(data)
        member = tarfile.TarInfo(f"{FOLDER}/{name}")
        member.size, member.mode = len(clean), 0o600
        self._tar.addfile(member, io.BytesIO(clean))
        self.files[name] = len(clean)

    def add_json(self, name: str, value: Any) -> None:
        self.add(name, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")

    def lacks(self, name: str, error: BundleError) -> None:
        """What is broken may be why this is called for: the error is part of the story."""
        self.missing[name] = self._redactor.clean(error.summary.encode()).decode()
        self.add(f"{name}.missing.txt", f"{error}\n{error.hint}\n".encode())

    def close(self) -> bytes:
        self._tar.close()
        self._packed.close()
        return self._data.getvalue()


def collect(request: Request, output: Path, *, since: str = "") -> Collected:
    """Ask the hosts, and write the archive with mode 0600. Changes nothing.

    Raises InvalidDocument for a site.yaml that is none, SecretsLocked and the like where it cannot be known what is
    secret, CannotWrite. All else that fails is told in the archive.
    """
    site = check_site(request.site)
    check_limit(site, request.limit)
    redactor = Redactor()
    request = _learning(request, redactor)
    request.state.mkdir(mode=0o700, exist_ok=True)
    archive = _Archive(redactor)
    known = _Known(components=components())
    wanted = [host for host in site.hosts if not request.limit or host.name in request.limit]
    with connect(site, state=request.state, password=request.password) as hosts:
        # Before anything is cleaned: what sudo asks for at the first contact must be gone from everything.
        failed = parallel.each(wanted, lambda host: _greet(hosts[host.name]), jobs=request.jobs)
        silent = {host.name: why for host, why in failed}
        archive.add("site.yaml", read_text(request.site, limit=LIMITS.manifest).encode())
        try:
            with deployment(request, create=False) as deployed:
                known = _site(archive, deployed, request)
        except BundleError as error:
            archive.lacks("status.json", error)
        _journal(archive, request)
        answering = [host for host in wanted if host.name not in silent]
        for at in range(0, len(answering), request.jobs):  # what all of many hosts say need not be in memory at once
            _hosts(archive, answering[at : at + request.jobs], hosts, known, since=since)
    for name, why in silent.items():
        archive.lacks(f"hosts/{name}", why)
    archive.add_json("missing.json", archive.missing)
    write_file(output, archive.close(), mode=0o600)
    return Collected(
        path=output,
        files=archive.files,
        missing=archive.missing,
        removed=redactor.removed,
        guessed=redactor.guessed,
    )


def _greet(host: Host) -> None:
    host.run(Script(text=":"))


def _learning(request: Request, redactor: Redactor) -> Request:
    """The same request, of which the redactor learns every secret: those of the site, what opens them, sudo's."""
    unlock = request.unlock or KeyFile(path=key_beside(secrets_of(request)))
    if isinstance(unlock, Passphrase):
        unlock = Passphrase(ask=cache(unlock.ask))
    request = replace(request, unlock=unlock if secrets_of(request).exists() else request.unlock)
    vault = open_vault(request, create=False)
    for name in vault.names():
        if secret := vault.get(name):
            redactor.learn(secret.reveal())
    for text in _opening(unlock):
        redactor.learn(text)

    @cache
    def password(host: str) -> Secret | None:
        given = request.password(host)
        if given is not None:
            redactor.learn(given.reveal())
        return given

    return replace(request, password=password)


def _opening(unlock: Unlock) -> list[str]:
    if isinstance(unlock, Passphrase):
        return [(unlock.ask() or b"").decode("utf-8", "replace")]
    return [read_text(unlock.path, limit=1024)] if unlock.path.exists() else []


def _site(archive: _Archive, deployed: Deployment, request: Request) -> _Known:
    """What is known of the site as a whole. Raises what keeps it from being known."""
    archive.add_json("about.json", _about(deployed))
    hosts = hosts_of(deployed, request)
    found = status_of(deployed, hosts, jobs=request.jobs)
    archive.add_json("status.json", status_json(found))
    archive.add_json("plan.json", {"actions": plan_json(found.plan)})
    findings, _ = look(deployed.goal, preflight_checks(deployed.goal), hosts, deployed.hosts, jobs=request.jobs)
    archive.add_json("findings.json", {"health": findings_json(found.findings), "preflight": findings_json(findings)})
    secret_files = {
        name: tuple(dict.fromkeys(fact.path for fact in asked if isinstance(fact, FileFact) and fact.secret))
        for name, asked in steps_asked(deployed, hosts).items()
    }
    packages = sorted({deb.package for deb in deployed.goal.lock.debs})
    return _Known(packages=tuple(packages), secret_files=secret_files, components=deployed.goal.components)


def _about(deployed: Deployment) -> dict[str, Any]:
    statement, signed = deployed.goal.statement, deployed.release.signed
    return {
        "tool": bundler.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "at": clock.now().isoformat(timespec="seconds"),
        "site": deployed.goal.site.name,
        "release": str(statement.release),
        "content": str(statement.content),
        "statement": str(Digest.of(signed.statement)),
        "signers": [key.keyid for key in deployed.goal.trust],
        "hosts": len(deployed.goal.site.hosts),
    }


def _journal(archive: _Archive, request: Request) -> None:
    path = request.state / "journal.jsonl"
    if path.exists():
        try:
            archive.add(path.name, read_end(path, limit=_JOURNAL))
        except BundleError as error:
            archive.lacks(path.name, error)


def _hosts(
    archive: _Archive, wanted: Sequence[SiteHost], hosts: Mapping[str, Host], known: _Known, *, since: str
) -> None:
    told: dict[str, dict[str, bytes]] = {}

    def ask(host: SiteHost) -> None:
        secret_files = known.secret_files.get(host.name, ())
        sections = sections_of(host, known.components, since=since, packages=known.packages, secret_files=secret_files)
        told[host.name] = tell(hosts[host.name], sections)

    failed = {host.name: error for host, error in parallel.each(wanted, ask, jobs=len(wanted))}
    for host in wanted:
        for name, data in told.get(host.name, {}).items():
            archive.add(f"hosts/{host.name}/{name}", data)
        if host.name in failed:
            archive.lacks(f"hosts/{host.name}", failed[host.name])
