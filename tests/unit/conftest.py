"""Hostile servers, a transport with small bounds that notes its pauses instead of sleeping, and an installed site."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.transport import Transport, TransportConfig
from tests.hostile_server import Bytes, HostileServer
from tests.simulated import SimulatedSite, copied, installed, simulated_site


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no CA file of the machine that runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[HostileServer]:
    """Another host."""
    with HostileServer(host="127.0.0.2") as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def transport(pauses: list[float]) -> Iterator[Transport]:
    made = Transport(
        TransportConfig(
            connect_timeout=1,
            idle_timeout=0.3,
            total_timeout=30,
            lowest_speed=10**9,
            sleep=pauses.append,
            jitter=lambda low, high: high,
        )
    )
    yield made
    made.close()


@pytest.fixture
def sink() -> Bytes:
    return Bytes()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSite:
    """Installed once, to be copied."""
    with pytest.MonkeyPatch.context() as patched:
        return installed(simulated_site(tmp_path_factory.mktemp("installation"), patched))


@pytest.fixture
def installed_site(installation: SimulatedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedSite:
    """A simulated site of three hosts with everything done."""
    return copied(installation, tmp_path, monkeypatch)
