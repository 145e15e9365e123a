"""A tiny package index and a tiny signed Debian archive on loopback, for the real uv, pip and apt."""

import hashlib
import json
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.signing.openpgp import clear_sign, create_apt_key, public_armored
from tests.content import Made, make_wheel
from tests.hostile_server import Answer, HostileServer, Seen, head, ok

JSON = "application/vnd.pypi.simple.v1+json"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(kw_only=True)
class TinyIndex:
    """A simple repository (PEP 691). Files below /files/, project pages below /simple/."""

    server: HostileServer
    projects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.server.url}/simple"

    def wheel(self, project: str, version: str = "1.0", *, tag: str = "py3-none-any", **options: Any) -> Made:
        """Make and serve a wheel; `beside` false leaves its METADATA in the wheel, `more` goes into its entry."""
        beside, more = options.pop("beside", True), options.pop("more", {})
        made = make_wheel(project, version, **options)
        made = replace(made, name=made.name.replace("py3-none-any", tag))
        self.server.on(f"/files/{made.name}", spans(made.data))
        entry = {
            "filename": made.name,
            "url": f"../../files/{made.name}",
            "hashes": {"sha256": sha256(made.data)},
            "size": len(made.data),
        }
        entry = {key: value for key, value in (entry | more).items() if value is not None}
        if beside:
            self.server.on(f"/files/{made.name}.metadata", ok(made.description))
            entry = {"core-metadata": {"sha256": sha256(made.description)}, **entry}
        self.add(project, entry)
        return made

    def add(self, project: str, entry: Mapping[str, Any]) -> None:
        self.projects.setdefault(project, []).append(dict(entry))
        self._publish(project)

    def drop(self, project: str, file: str) -> None:
        self.projects[project] = [entry for entry in self.projects[project] if entry["filename"] != file]
        self._publish(project)

    def _publish(self, project: str) -> None:
        page = {"meta": {"api-version": "1.1"}, "name": project, "files": self.projects[project]}
        self.server.on(f"/simple/{project}/", ok(json.dumps(page).encode(), Content_Type=JSON))


def spans(data: bytes) -> Answer:
    """A server that knows every form of a single Range."""

    def answer(seen: Seen, client: socket.socket) -> bool:
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", seen.headers.get("range", ""))
        if match is None:
            return ok(data)(seen, client)
        first, last = match.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
        given = {"Content-Range": f"bytes {start}-{end}/{len(data)}", "Content-Length": end - start + 1}
        client.sendall(head(206, given) + (b"" if seen.method == "HEAD" else data[start : end + 1]))
        return True

    return answer


@dataclass(kw_only=True)
class TinyArchive:
    """A Debian archive, signed by a key of its own. To resolve, indexes are enough; `deb` serves a package too."""

    server: HostileServer
    root: str = "/debian"
    origin: str = "Debian"
    key: bytes = field(default_factory=lambda: create_apt_key("tests"))
    indexes: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.server.url}{self.root}"

    @property
    def public(self) -> bytes:
        return public_armored(self.key)

    def suite(
        self,
        name: str,
        packages: Iterable[str],
        *,
        architecture: str = "amd64",
        component: str = "main",
        valid: bool = True,
    ) -> None:
        """Publish one index of a suite, of packages given as stanzas, its InRelease signed, unless not `valid`."""
        place = f"{component}/binary-{architecture}/Packages"
        self._publish(f"/dists/{name}", name, place, "\n".join(packages).encode(), valid=valid)

    def flat(self, path: str, packages: Iterable[str]) -> None:
        """Publish a flat repository below `path`, which ends in a slash."""
        self._publish(f"/{path}".rstrip("/"), "", "Packages", "\n".join(packages).encode(), valid=True)

    def deb(self, made: Made) -> str:
        """Serve a package and give its stanza. Releases may have other bytes under one name."""
        path = f"pool/{sha256(made.data)[:8]}/{made.name}"
        self.server.on(f"{self.root}/{path}", spans(made.data))
        return f"{made.description.decode()}Filename: {path}\nSize: {len(made.data)}\nSHA256: {sha256(made.data)}\n"

    def _publish(self, folder: str, suite: str, place: str, text: bytes, *, valid: bool) -> None:
        listed = self.indexes.setdefault(folder, {})
        listed[place] = text
        architectures = sorted({name.split("-")[1].split("/")[0] for name in listed if "-" in name} or {"amd64"})
        components = sorted({name.split("/")[0] for name in listed if "/" in name})
        sums = "".join(f" {sha256(data)} {len(data)} {name}\n" for name, data in listed.items())
        release = (
            f"Origin: {self.origin}\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Aug 2026 10:00:00 UTC\n"
            f"Architectures: {' '.join(architectures)}\nComponents: {' '.join(components)}\nSHA256:\n{sums}"
        )
        signed = clear_sign(self.key, release.encode())
        signed = signed if valid else signed.replace(b"2026", b"2027")
        self.server.on(f"{self.root}{folder}/InRelease", ok(signed))
        self.server.on(f"{self.root}{folder}/{place}", ok(text))


def package(name: str, version: str = "1.0-1", **fields: str) -> str:
    """A stanza of a Packages file; field names with underscores for dashes. Its digest comes from its own text."""
    named = {"Package": name, "Version": version, "Architecture": fields.pop("Architecture", "amd64")}
    named |= {key.replace("_", "-"): value for key, value in fields.items()}
    file = f"pool/main/{name[0]}/{name}/{name}_{version.partition(':')[2] or version}_{named['Architecture']}.deb"
    text = "".join(f"{key}: {value}\n" for key, value in ({"Installed-Size": "1"} | named).items())
    return f"{text}Filename: {file}\nSize: {1000 + len(text)}\nSHA256: {sha256(text.encode())}\nDescription: a test\n"


def base(*more: str) -> list[str]:
    """An essential package on which nothing depends, with its library, and apt."""
    return [
        package("tiny-shell", Essential="yes", Pre_Depends="tiny-libc"),
        package("tiny-libc"),
        package("apt", Priority="important"),
        *more,
    ]


def apt_machine(folder: Path, sources: Sequence[str], keys: Mapping[str, bytes], *, settings: str = "") -> Path:
    """The apt.conf (for APT_CONFIG) of a machine with these sources.list lines; `keys` are files `KEY.asc`."""
    etc = folder / "etc"
    (etc / "sources.list.d").mkdir(parents=True, exist_ok=True)
    for name, key in keys.items():
        (folder / name).write_bytes(public_armored(key))
    folder.chmod(0o755)  # apt reads keys as a user of its own
    (etc / "sources.list").write_text("".join(f"{line}\n" for line in sources))
    conf = folder / "apt.conf"
    conf.write_text(f'Dir::Etc "{etc}";\nDir::State "{folder}/state";\nDir::Cache "{folder}/cache";\n{settings}')
    return conf
