"""The real CoreDNS with the Corefiles of the chart cluster-dns: before a real API server, and a cache before that."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import Cluster, free_ports, running, running_cluster
from tests.dnsload import NOERROR, NXDOMAIN, SERVFAIL, ask
from tests.house_charts import render
from tests.lab import lab_program

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"
SITE = "127.0.0.54"  # the site's name servers
CACHE = "127.0.0.53"  # a node's link-local address
ZONES = ["lab.example", "10.77.0.0/22", "fd77::/64"]
NETWORKS = ["10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112"]

OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "six", "namespace": "default"},
        "spec": {
            "clusterIP": "fd00:96::77",
            "clusterIPs": ["fd00:96::77"],
            "ipFamilies": ["IPv6"],
            "ports": [{"port": 80}],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"port": 3306}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"port": 3306}],
        "endpoints": [{"addresses": ["10.244.3.4"], "hostname": "db-0", "conditions": {"ready": True}}],
    },
]

THEIRS = r"""
lab.example {
    bind %(site)s
    template IN A {
        match ^registry\.lab\.example\.$
        answer "{{ .Name }} 60 IN A 10.77.0.12"
        fallthrough
    }
    template ANY ANY {
        rcode NXDOMAIN
    }
}
77.10.in-addr.arpa 0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa {
    bind %(site)s
    template IN PTR {
        answer "{{ .Name }} 60 IN PTR registry.lab.example."
    }
}
. {
    bind %(site)s
    template ANY ANY {
        rcode REFUSED
    }
}
"""

# A server of the cluster's names that gives every one this address, for a second.
ONE = """\
cluster.local {
    bind 127.0.0.57
    template IN A {
        answer "{{ .Name }} 1 IN A %s"
    }
}
. {
    bind 127.0.0.57
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A CoreDNS and where it listens; `health` and `ready` are ports."""

    address: str
    port: int
    health: int
    ready: int

    def status(self, path: str) -> int:
        port = {"health": self.health, "ready": self.ready}[path]
        try:
            with urllib.request.urlopen(f"http://{self.address}:{port}/{path}", timeout=5) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code


@contextmanager
def coredns(folder: Path, text: str, *, address: str, port: int = 0, program: str = "coredns") -> Iterator[Server]:
    """CoreDNS in the version of the chart, until the end of the block."""
    folder.mkdir(exist_ok=True)
    free, metrics, health, ready = free_ports(4)
    for old, new in ((":9153", metrics), (":9253", metrics), (":8080", health), (":8181", ready)):
        text = text.replace(old, f":{new}")
    (folder / "Corefile").write_text(text)
    command: list[str | Path] = [lab_program(program) / "coredns", "-conf", folder / "Corefile"]
    with running([*command, "-dns.port", str(port or free)], folder / "log") as process:
        server = Server(address=address, port=port or free, health=health, ready=ready)
        for _ in range(400):
            try:
                ask(address, server.port, "is.there.example", timeout=1)
            except (ConnectionRefusedError, TimeoutError):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            else:
                break
        yield server


def corefile(values: Mapping[str, Any], name: str = "cluster-dns") -> str:
    text: str = render("cluster-dns", values, namespace="kube-system").one("ConfigMap", name)["data"]["Corefile"]
    return text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        found.apply(OBJECTS)
        found.apply(render("cluster-dns", {"cluster": {"networks": NETWORKS}}, namespace="kube-system").all)
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with coredns(tmp_path_factory.mktemp("site"), THEIRS % {"site": SITE}, address=SITE) as found:
        yield found


def values(site: Server, **more: Any) -> dict[str, Any]:
    resolvers = [f"{SITE}:{site.port}", "127.0.0.55:9"]  # the second is down
    found = {"cluster": {"networks": NETWORKS}, "site": {"zones": ZONES, "resolvers": resolvers}}
    return {key: {**found.get(key, {}), **more.get(key, {})} for key in {**found, **more}}


def watching(text: str, config: Path) -> str:
    """The same, by a kubeconfig: a pod has its service account instead."""
    assert text.count("        pods insecure\n") == 1
    return text.replace("        pods insecure\n", f"        pods insecure\n        kubeconfig {config}\n")


@pytest.fixture(scope="module")
def server(cluster: Cluster, site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = cluster.account("kube-system", "cluster-dns")  # with the rights that the chart gives, and no more
    with coredns(tmp_path_factory.mktemp("dns"), watching(corefile(values(site)), config), address=HOST) as found:
        for _ in range(100):
            if found.status("ready") == 200:
                break
            time.sleep(0.1)
        yield found


def names(server: Server) -> None:
    for name, kind, addresses in (
        ("web.default.svc.cluster.local", "A", ("10.96.7.7",)),
        ("six.default.svc.cluster.local", "AAAA", ("fd00:96::77",)),
        ("db.default.svc.cluster.local", "A", ("10.244.3.4",)),
        ("db-0.db.default.svc.cluster.local", "A", ("10.244.3.4",)),
        ("10-244-3-9.default.pod.cluster.local", "A", ("10.244.3.9",)),
        ("registry.lab.example", "A", ("10.77.0.12",)),
    ):
        reply = ask(server.address, server.port, name, kind)
        assert (reply.rcode, reply.addresses) == (NOERROR, addresses), name


REVERSE = {
    "7.7.96.10.in-addr.arpa": NOERROR,  # a service
    "4.3.244.10.in-addr.arpa": NOERROR,  # an endpoint with a name
    f"{'.'.join(reversed('fd000096000000000000000000000077'))}.ip6.arpa": NOERROR,
    "9.9.96.10.in-addr.arpa": NXDOMAIN,
    "12.0.77.10.in-addr.arpa": NOERROR,  # all four networks of the site's /22
    "12.3.77.10.in-addr.arpa": NOERROR,
    "12.4.77.10.in-addr.arpa": NXDOMAIN,  # and nothing beside it
    f"{'.'.join(reversed('fd770000000000000000000000000012'))}.ip6.arpa": NOERROR,
    "1.1.168.192.in-addr.arpa": NXDOMAIN,
}


def test_names_of_the_cluster_and_of_the_site(server: Server) -> None:
    assert (server.status("health"), server.status("ready")) == (200, 200)
    names(server)


@pytest.mark.parametrize("name", REVERSE)
def test_names_of_addresses(server: Server, name: str) -> None:
    assert ask(server.address, server.port, name, "PTR").rcode == REVERSE[name]


def unknown(server: Server) -> None:
    for name in ("www.example.com", "com", "x", "example.com.default.svc.cluster.local", "absent.lab.example"):
        for kind in ("A", "AAAA"):
            replies = [ask(server.address, server.port, name, kind) for _ in range(5)]
            assert {reply.rcode for reply in replies} == {NXDOMAIN}, (name, kind)
            assert min(reply.milliseconds for reply in replies) <= 5, (name, kind)


def test_what_nobody_has_is_said_at_once(server: Server) -> None:
    unknown(server)


def test_an_upstream_is_asked_where_there_is_one(site: Server, tmp_path: Path) -> None:
    """It plays somebody who answers REFUSED for everything: that answer must be its own."""
    text = corefile(values(site) | {"upstream": [f"{SITE}:{site.port}"]})
    with coredns(tmp_path / "dns", without_api(text), address=HOST) as server:
        assert ask(server.address, server.port, "www.example.com").rcode == 5


def without_api(text: str) -> str:
    head, _, rest = text.partition("    kubernetes ")
    return head + rest[rest.index("    }\n") + 6 :]


def test_a_site_whose_servers_are_gone_fails_soon_and_alone(tmp_path: Path) -> None:
    given = {"site": {"zones": ["lab.example"], "resolvers": ["127.0.0.55:9", "127.0.0.56:9"]}}
    with coredns(tmp_path / "dns", without_api(corefile(given)), address=HOST) as server:
        started = time.monotonic()
        assert ask(server.address, server.port, "registry.lab.example", timeout=10).rcode == SERVFAIL
        assert time.monotonic() - started < 6
        assert ask(server.address, server.port, "www.example.com").rcode == NXDOMAIN


def test_without_an_api_server_all_other_names_are_there(site: Server, tmp_path: Path) -> None:
    """It starts, is not ready, and says so for the cluster's names only."""
    config = Cluster(server="https://127.0.0.1:9", folder=tmp_path).config("none")
    with coredns(tmp_path / "dns", watching(corefile(values(site)), config), address=HOST) as server:
        assert (server.status("health"), server.status("ready")) == (200, 503)
        assert ask(server.address, server.port, "registry.lab.example").addresses == ("10.77.0.12",)
        assert ask(server.address, server.port, "www.example.com").rcode == NXDOMAIN
        assert ask(server.address, server.port, "web.default.svc.cluster.local").rcode == SERVFAIL


def cached(site: Server, server: Server, **more: Any) -> str:
    cluster = {"addresses": [f"{server.address}:{server.port}"]}
    cache = {"enabled": True, "addresses": [CACHE], **more}
    return corefile(values(site, cluster=cluster, cache=cache), "cluster-dns-cache")


def test_the_cache_of_a_node(site: Server, server: Server, tmp_path: Path) -> None:
    with coredns(tmp_path / "cache", cached(site, server), address=CACHE) as cache:
        assert cache.status("health") == 200
        names(cache)
        unknown(cache)
        for name, rcode in REVERSE.items():
            assert ask(cache.address, cache.port, name, "PTR").rcode == rcode, name
        with pytest.raises(ConnectionRefusedError):
            ask("127.0.0.56", cache.port, "web.default.svc.cluster.local", timeout=1)


def test_a_known_name_outlives_its_servers_and_a_new_address_is_seen(site: Server, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    there = Server(address="127.0.0.57", port=port, health=0, ready=0)

    def text(address: str) -> str:
        return ONE % address

    with coredns(tmp_path / "cache", cached(site, there), address=CACHE) as cache:

        def answer() -> tuple[str, ...]:
            return ask(cache.address, cache.port, "web.default.svc.cluster.local", timeout=8).addresses

        with coredns(tmp_path / "one", text("10.96.1.1"), address="127.0.0.57", port=port):
            assert answer() == ("10.96.1.1",)
        time.sleep(6)  # five seconds are the least that an answer is kept
        assert answer() == ("10.96.1.1",)
        with coredns(tmp_path / "two", text("10.96.2.2"), address="127.0.0.57", port=port):
            deadline = time.monotonic() + 15
            while answer() != ("10.96.2.2",):
                assert time.monotonic() < deadline
                time.sleep(0.5)


def test_a_cache_is_replaced_without_a_gap(site: Server, server: Server, tmp_path: Path) -> None:
    """Two share the port, as the pods of a DaemonSet with maxSurge do."""
    text = cached(site, server)
    with coredns(tmp_path / "old", text, address=CACHE) as old:
        with coredns(tmp_path / "new", text, address=CACHE, port=old.port):
            for _ in range(50):
                assert ask(CACHE, old.port, "web.default.svc.cluster.local").addresses == ("10.96.7.7",)
        for _ in range(50):
            assert ask(CACHE, old.port, "web.default.svc.cluster.local").addresses == ("10.96.7.7",)


def test_the_host_servers_version_reads_them_too(site: Server, tmp_path: Path) -> None:
    """1.14.4 is what the site's hosts have: no word of the Corefile is of one version only."""
    with coredns(
        tmp_path / "dns", without_api(corefile(values(site))), address=HOST, program="coredns-server"
    ) as found:
        assert ask(found.address, found.port, "registry.lab.example").addresses == ("10.77.0.12",)
