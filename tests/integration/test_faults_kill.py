"""kill -9 at random moments, again and again: the result is the same bytes, and little is read twice."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.campaigns import Tap, Workshop, kill_often, sha256_of, tap, tree_of
from tests.lab import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """So many images of five blobs, so many kills, each after at most `create` or `install` seconds of a run."""

    images: int
    size: str
    kills: int
    rate: float
    create: float
    install: float


SAMPLE = Campaign(images=5, size="6M", kills=6, rate=60e6, create=1.5, install=0.8)
LONG = Campaign(images=10, size="21M", kills=30, rate=100e6, create=2.4, install=2.4)


@pytest.fixture(scope="module", params=[SAMPLE, pytest.param(LONG, marks=pytest.mark.long)], ids=["sample", "long"])
def campaign(request: pytest.FixtureRequest) -> Campaign:
    found: Campaign = request.param
    return found


@pytest.fixture(scope="module")
def tapped(empty_upstream: Upstream, campaign: Campaign) -> Iterator[Tap]:
    with tap(empty_upstream.url, rate=campaign.rate) as running:
        yield running


@pytest.fixture(scope="module")
def workshop(
    tmp_path_factory: pytest.TempPathFactory, empty_upstream: Upstream, tapped: Tap, campaign: Campaign
) -> Workshop:
    """A lock of random images, and the bundle that an undisturbed run makes of it."""
    images = empty_upstream.add_random_images(campaign.images, size=campaign.size, blobs=5, prefix="kill/")
    folder = tmp_path_factory.mktemp("kill")
    straight = Workshop(folder=folder, upstreams={"lab.example": empty_upstream.url})
    straight.declare(images=[f"lab.example/{name}" for name in images])
    straight.lock()
    straight.run(*straight.create("straight.bundle"))
    return Workshop(folder=folder, upstreams={"lab.example": tapped.url})


def test_create(workshop: Workshop, tapped: Tap, campaign: Campaign) -> None:
    out = workshop.folder / "killed.bundle"
    straight = workshop.folder / "straight.bundle"
    expected, size = sha256_of(straight), straight.stat().st_size
    found = kill_often(
        lambda: workshop.start(*workshop.create(out.name)),
        result=lambda: sha256_of(out),
        clear=out.unlink,
        kills=campaign.kills,
        longest=campaign.create,
        seed=1,
        counted=tapped,
    )
    print(f"create: {size} bytes; {found}; at most {max(found.read) / size:.4f} of the size")
    assert set(found.results) == {expected}
    assert max(found.read) <= size * 1.05
    assert min(found.read) > size * 0.95  # the counting itself works
    assert [path.name for path in out.parent.glob("killed.bundle*")] == [out.name]


def test_install(workshop: Workshop, campaign: Campaign) -> None:
    bundle, key = "straight.bundle", "release.pub"
    straight, root = workshop.folder / "straight", workshop.folder / "killed"
    workshop.run("install", bundle, "--trust", key, "--root", straight.name)
    number = iter(range(1000))
    found = kill_often(
        lambda: workshop.start("install", bundle, "--trust", key, "--root", root.name),
        result=lambda: str(tree_of(root) == tree_of(straight)),
        clear=lambda: root.rename(f"{root}.{next(number)}"),
        kills=campaign.kills,
        longest=campaign.install,
        seed=2,
    )
    print(f"install: {found}")
    assert set(found.results) == {"True"}
    assert "nothing to do" in workshop.run("install", bundle, "--root", root.name)


def test_the_proxy_counts_what_is_read(tapped: Tap, tmp_path: Path) -> None:
    """What lies in buffers does not count."""
    with socket.create_connection(("127.0.0.1", tapped.port)) as plug:
        before = tapped.read()
        plug.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert tapped.read() == before
        assert plug.recv(10)
        assert tapped.read() == before + 10
