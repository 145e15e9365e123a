"""Drivers and other large files, as a user has them: locked by a vendor's signed list, fetched from several connections
at once, killed, and changed behind one's back."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pysequoia
import pytest

from bundler.errors import BadSignature, LicenseNotAccepted, PinGone, Unsupported, WrongBytes
from bundler.signing.openpgp import create_apt_key, public_armored
from tests.campaigns import Workshop, kill_often, sha256, sha256_of, tap
from tests.hostile_server import Answer, HostileServer, Seen, head, ok
from tests.upstreams import spans

HOST = "vendor.example"
MIB = 1 << 20


@dataclass(kw_only=True)
class Vendor:
    """A server of files, a folder for `bundle`, and a key that signs lists."""

    server: HostileServer
    shop: Workshop
    key: bytes

    def serve(self, name: str, data: bytes) -> str:
        self.server.on(f"/{name}", spans(data))
        return f"https://{HOST}/{name}"

    def sums(self, data: dict[str, bytes], *, algorithm: str = "") -> str:
        """A list, and its detached signature beside it. `algorithm` takes the digests' place."""
        text = "".join(f"{algorithm or sha256(body)}  {name}\n" for name, body in data.items()).encode()
        signer = pysequoia.Tsk.from_bytes(self.key).signer()
        self.serve("SHA256SUMS", text)
        self.serve("SHA256SUMS.asc", pysequoia.sign(signer, text, mode=pysequoia.SignatureMode.DETACHED))
        (self.shop.folder / "manifests/files").mkdir(parents=True, exist_ok=True)
        (self.shop.folder / "manifests/files/vendor.asc").write_bytes(public_armored(self.key))
        return (
            f"{{url: 'https://{HOST}/SHA256SUMS', signature: 'https://{HOST}/SHA256SUMS.asc', "
            "keyring: 'file:vendor.asc'}"
        )

    def declare(self, *lines: str, accepted: str = "") -> None:
        self.shop.declare()
        manifests = self.shop.folder / "manifests"
        text = "\n".join(["component: campaign", "files:", *(f"- {{{line}}}" for line in lines)])
        (manifests / "components/campaign.yaml").write_text(f"{text}\n")
        if accepted:
            with (manifests / "profiles/campaign.yaml").open("a") as file:
                file.write(f"accept_license: [{accepted}]\n")

    def lock(self, *more: str, code: int = 0) -> str:
        return self.shop.run("lock", "-p", "campaign", "-o", "campaign.lock", *more, code=code)

    def create(self, *more: str, code: int = 0) -> str:
        return self.shop.run(*self.shop.create(), *more, code=code)

    @property
    def read(self) -> list[tuple[str, str]]:
        """What was asked for: method and path, HEAD and single bytes left out."""
        return [(seen.method, seen.path) for seen in self.server.seen if not _looks(seen)]


def _looks(seen: Seen) -> bool:
    return seen.method == "HEAD" or seen.headers.get("range") == "bytes=0-0"


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    with HostileServer() as server:
        shop = Workshop(folder=tmp_path, upstreams={HOST: server.url})
        yield Vendor(server=server, shop=shop, key=create_apt_key("Vendor <vendor@example.com>"))


def test_a_driver_by_a_signed_list(vendor: Vendor) -> None:
    driver = random.Random(1).randbytes(70 * MIB)
    url = vendor.serve("driver.run", driver)
    checksums = vendor.sums({"driver.run": driver, "other.run": b""})
    vendor.declare(f"name: driver.run, url: '{url}', checksums: {checksums}")
    vendor.lock()
    assert "/driver.run" not in [path for _, path in vendor.read]  # its size is all that is asked of it
    vendor.create()
    assert vendor.read.count(("GET", "/driver.run")) == 3  # two pieces of 32 MiB and the rest
    vendor.shop.run("verify", "campaign.bundle", "--trust", "release.pub")
    before = (vendor.shop.folder / "campaign.lock").read_bytes()
    vendor.lock()
    assert (vendor.shop.folder / "campaign.lock").read_bytes() == before


def test_a_file_that_its_vendor_replaces(vendor: Vendor) -> None:
    url = vendor.serve("driver.run", b"one")
    vendor.declare(f"name: driver.run, url: '{url}', checksums: {vendor.sums({'driver.run': b'one'})}")
    vendor.lock()
    vendor.serve("driver.run", b"other")
    assert "wrong bytes for" in vendor.create(code=WrongBytes.exit_code)
    vendor.sums({"driver.run": b"other"})
    said = vendor.lock(code=PinGone.exit_code)
    assert f"file driver.run: its vendor's list now says sha256:{sha256(b'other')}" in said
    assert "moved by --update" in vendor.lock("--update=driver.run")
    vendor.create()


def test_a_list_that_was_tampered_with(vendor: Vendor) -> None:
    url = vendor.serve("driver.run", b"evil")
    checksums = vendor.sums({"driver.run": b"good"})
    vendor.serve("SHA256SUMS", f"{sha256(b'evil')}  driver.run\n".encode())
    vendor.declare(f"name: driver.run, url: '{url}', checksums: {checksums}")
    assert "the keys in vendor.asc" in vendor.lock(code=BadSignature.exit_code)
    assert not (vendor.shop.folder / "campaign.lock").exists()


def test_a_list_of_another_algorithm(vendor: Vendor) -> None:
    url = vendor.serve("cuda.run", b"x")
    vendor.declare(f"name: cuda.run, url: '{url}', checksums: {vendor.sums({'cuda.run': b'x'}, algorithm='0' * 32)}")
    said = vendor.lock(code=Unsupported.exit_code)
    assert "the checksum MD5 is not supported" in said
    assert "give its SHA-256 as `digest`" in said


def test_digest_and_list_must_agree(vendor: Vendor) -> None:
    url, checksums = vendor.serve("driver.run", b"x"), vendor.sums({"driver.run": b"x"})
    vendor.declare(f"name: driver.run, url: '{url}', checksums: {checksums}, digest: 'sha256:{'0' * 64}'")
    assert f"sha256:{sha256(b'x')} in https://{HOST}/SHA256SUMS" in vendor.lock(code=WrongBytes.exit_code)
    vendor.declare(f"name: driver.run, url: '{url}', checksums: {checksums}, digest: 'sha256:{sha256(b'x')}'")
    vendor.lock()


def test_nobody_vouches_for_it(vendor: Vendor) -> None:
    vendor.declare(f"name: archive.tgz, url: '{vendor.serve('archive.tgz', b'first')}'")
    assert "nobody vouches for it" in vendor.lock()
    assert ("GET", "/archive.tgz") in vendor.read
    assert "nobody" not in vendor.lock()
    assert len(vendor.read) == 1  # the pin is kept, and its size compared
    vendor.serve("archive.tgz", b"second")
    assert "file archive.tgz: it has 6 bytes now, not 5" in vendor.lock(code=PinGone.exit_code)
    vendor.lock("--update=archive.tgz")
    vendor.create()


def test_a_file_of_ones_own_without_a_digest(vendor: Vendor) -> None:
    vendor.declare("name: notes.txt, url: 'file:notes.txt'")
    notes = vendor.shop.folder / "manifests/files/notes.txt"
    notes.write_bytes(b"first")
    vendor.lock()
    vendor.lock()
    notes.write_bytes(b"other")
    assert f"file notes.txt: it is now sha256:{sha256(b'other')}" in vendor.lock(code=PinGone.exit_code)
    assert "moved by --update" in vendor.lock("--update=notes.txt")


def test_the_licence_gate(vendor: Vendor) -> None:
    lines = [f"name: {name}, url: '{vendor.serve(name, b'x')}', license: {name}-EULA" for name in ("a.run", "b.run")]
    vendor.declare(*lines)
    said = vendor.lock(code=LicenseNotAccepted.exit_code)
    assert "a.run-EULA: the file a.run of the component campaign" in said
    assert "accept_license: [a.run-EULA, b.run-EULA]" in said
    assert vendor.server.seen == []
    vendor.declare(*lines, accepted="a.run-EULA, b.run-EULA")
    vendor.lock()


# --- kill -9


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    size: int
    kills: int
    rate: float
    longest: float


SAMPLE = Campaign(size=150 * MIB, kills=6, rate=40e6, longest=5)
LONG = Campaign(size=1000 * MIB, kills=30, rate=60e6, longest=5)


@pytest.mark.parametrize("campaign", [SAMPLE, pytest.param(LONG, marks=pytest.mark.long)], ids=["sample", "long"])
def test_killed_again_and_again(vendor: Vendor, tmp_path: Path, campaign: Campaign) -> None:
    """One large file over several connections: the same bytes in the end, and little of them read twice."""
    path = tmp_path / "driver.run"
    chance = random.Random(5)
    with path.open("wb") as file:
        for _ in range(campaign.size // MIB):
            file.write(chance.randbytes(MIB))
    vendor.server.on("/driver.run", _sent(path))
    vendor.declare(f"name: driver.run, url: 'https://{HOST}/driver.run', digest: 'sha256:{sha256_of(path)}'")
    vendor.lock()
    vendor.create()
    expected = sha256_of(tmp_path / "campaign.bundle")
    out = tmp_path / "killed.bundle"
    with tap(vendor.server.url, rate=campaign.rate) as counted:
        slow = Workshop(folder=tmp_path, upstreams={HOST: counted.url})
        found = kill_often(
            lambda: slow.start(*slow.create(out.name)),
            result=lambda: sha256_of(out),
            clear=out.unlink,
            kills=campaign.kills,
            longest=campaign.longest,
            seed=3,
            counted=counted,
        )
    print(f"{campaign.size} bytes; {found}; at most {max(found.read) / campaign.size:.4f} of the size")
    assert set(found.results) == {expected}
    assert min(found.read) > campaign.size * 0.99  # the counting itself works
    assert max(found.read) <= campaign.size * 1.05
    assert [each.name for each in tmp_path.glob("killed.bundle*")] == [out.name]


def _sent(path: Path) -> Answer:
    """As `spans`, by sendfile: this process has other things to do."""
    size = path.stat().st_size

    def answer(seen: Seen, client: socket.socket) -> bool:
        first, _, last = seen.headers.get("range", "bytes=0-")[6:].partition("-")
        start, end = int(first), min(int(last or size) + 1, size)
        named: dict[str, object] = {"Content-Length": end - start, "ETag": '"1"'}
        named |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"} if "range" in seen.headers else {}
        client.sendall(head(206 if "range" in seen.headers else 200, named))
        if seen.method == "HEAD":
            return True
        with path.open("rb") as file:
            while start < end:
                start += os.sendfile(client.fileno(), file.fileno(), start, min(end - start, MIB))
        return True

    return answer


def test_without_ranges_and_with_an_honest_one(vendor: Vendor) -> None:
    """Servers that send all, whatever is asked for; then one that is full after two connections."""
    driver = random.Random(2).randbytes(100 * MIB)
    vendor.declare(f"name: driver.run, url: '{vendor.serve('driver.run', driver)}', digest: 'sha256:{sha256(driver)}'")
    vendor.lock()
    vendor.server.on("/driver.run", ok(driver))
    vendor.create()
    expected = sha256_of(vendor.shop.folder / "campaign.bundle")
    busy = threading.BoundedSemaphore(2)

    def full(seen: Seen, client: socket.socket) -> bool:
        if not busy.acquire(blocking=False):
            client.sendall(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n")
            return True
        try:
            return spans(driver)(seen, client)
        finally:
            busy.release()

    vendor.server.on("/driver.run", full)
    (vendor.shop.folder / "campaign.bundle").unlink()
    vendor.create()
    assert sha256_of(vendor.shop.folder / "campaign.bundle") == expected
