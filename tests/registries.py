"""Real registries to push to: Debian's docker-registry (distribution 2.8) and distribution 3, on loopback."""

import ipaddress
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab import lab_program, unpacked

USER, PASSWORD = "me", "hunter2"
# bcrypt, the one form that registries take
HTPASSWD = f"{USER}:$2b$04$V3p8jdvfWEEhTiE8goXLd.1U2JsiDvZjySBQvCam6VLi3ZHgJwii2\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRegistry:
    """A running registry; `authority` is the CA file of one with TLS."""

    address: str
    folder: Path
    authority: Path | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.address}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def asked(self) -> list[str]:
        """`METHOD path` of every request so far."""
        lines = [line.split('"')[1] for line in self.log.splitlines() if '" ' in line and " HTTP/1.1" in line]
        return [line.rpartition(" ")[0] for line in lines]


def registry_program(name: str) -> Path:
    """The server itself, of `debian` or `distribution`; neither needs to be installed."""
    if name == "debian":
        return unpacked("docker-registry") / "usr/bin/docker-registry"
    return lab_program("distribution") / "registry"


@contextmanager
def real_registry(
    folder: Path, name: str = "debian", *, sparse: bool = True, auth: bool = False, tls: bool = False
) -> Iterator[RealRegistry]:
    """Run `debian` or `distribution`; with `sparse` false, distribution 3 refuses indexes that lack platforms."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{plug.getsockname()[1]}"
    http: dict[str, Any] = {"addr": address, "secret": "s" * 32}
    authority = make_authority(folder) if tls else None
    if authority:
        http["tls"] = {"certificate": str(folder / "server.pem"), "key": str(folder / "server.key")}
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "http": http,
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
    }
    if name != "debian":
        config["validation"] = {"manifests": {"indexes": {"platforms": "none" if sparse else "all"}}}
    if auth:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "r", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [registry_program(name), "serve", folder / "config.yml"],
            stdout=log,
            stderr=log,
            env={"OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        host, _, port = address.partition(":")
        for _ in range(100):
            with socket.socket() as plug:
                if plug.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        yield RealRegistry(address=address, folder=folder, authority=authority)
    finally:
        process.terminate()
        process.wait(20)


def make_authority(folder: Path) -> Path:
    """A private CA, and server.pem and server.key for 127.0.0.1 by it; gives the CA's file."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Site CA", "registry")]
    made = []
    for at, (key, name) in enumerate(zip(keys, names, strict=True)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(at + 1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=at == 0, path_length=None), critical=True)
        )
        if at:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "ca.pem").write_bytes(made[0])
    (folder / "server.pem").write_bytes(made[1])
    (folder / "server.key").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.pem"
