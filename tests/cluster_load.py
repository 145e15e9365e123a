"""A steady load on a cluster of the lab, and what faults did to it.

    with running_load(lab, pool="10.77.1", inside=("n4", "n5")) as load:
        with load.period("kill -9 etcd") as period:
            ...                          # the fault, and the wait until all is well again
        print(load.table())
        assert load.lost() == []         # acknowledged writes that are gone

Paths: `api` (GET /readyz at the virtual address) and `write` (a ConfigMap each), `service` (a LoadBalancer's address)
and `ingress` (by Host) are asked from this machine, as a client outside the cluster; `cluster-ip` and names are asked
from the hosts of `inside`: by the host's cache and by the Service, each for a name that is known and for new ones.
"""

import base64
import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.load_figures import Asked, Figures, Period, judged, table
from tests.nodes import Lab
from tests.waiting import eventually

LIMIT = 2.0  # seconds for a request
HERE = "outside"
ADMIN = "/etc/kubernetes/admin.conf"
SPACE, HOST = "load", "load.lab.example"
CACHE, SERVICE = "169.254.20.10", "10.96.0.10"
WRITES = "load-write"  # the label of what is written
CLIENT = Path(__file__).with_name("load_client.py")
_KNOWN, _NEW = "web.load.svc.cluster.local", "10-244-A-B.load.pod.cluster.local"

# What answers HTTP: CoreDNS' own health, of the image that every cluster has. One on each of two workers, always: while
# a host is away the other's is the only one.
_OBJECTS = """\
apiVersion: v1
kind: Namespace
metadata: {name: load}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: load}
data: {Corefile: ".:1053 {\\n whoami\\n health :8080 {\\n lameduck 10s\\n }\\n}\\n"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: load}
spec:
  replicas: 2
  # A third would have no place: hosts that take no pods count where they are spread.
  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      topologySpreadConstraints:
      - {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
         labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: %(image)s
        args: [-conf, /etc/coredns/Corefile]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 2}
        resources: {requests: {cpu: 10m, memory: 30Mi}}
        volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: web}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: load}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: load}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: load}
spec:
  ingressClassName: haproxy
  rules:
  - host: load.lab.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
"""


class Client(threading.Thread):
    """The program of tests/load_client.py, begun again whenever it ends."""

    def __init__(self, name: str, command: Sequence[str], source: bytes = b"") -> None:
        super().__init__(daemon=True, name=f"load from {name}")
        self.client, self._command, self._source = name, command, source
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.asked: list[Asked] = []

    def run(self) -> None:
        while not self._over.is_set():
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            with subprocess.Popen([*self._command], **pipes) as self._process:
                self._read(self._process)
            self._over.wait(1)

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(self._source)
            process.stdin.close()
        except BrokenPipeError:
            return
        for line in process.stdout:
            words = line.decode().split()
            if len(words) == 5:  # a host that dies in the middle of one leaves less
                path, number, due, seconds, outcome = words
                self.asked.append(
                    Asked(
                        client=self.client,
                        path=path,
                        number=int(number),
                        due=float(due),
                        seconds=float(seconds),
                        outcome=outcome,
                    )
                )

    def end(self) -> None:
        self._over.set()
        if self._process is not None:
            self._process.kill()
        self.join(10)


@dataclass(slots=True, kw_only=True)
class Load:
    lab: Lab
    clients: list[Client]
    control: tuple[str, ...]
    periods: list[Period] = field(default_factory=list)

    def asked(self, since: float = 0.0, until: float = float("inf")) -> list[Asked]:
        return [each for client in self.clients for each in list(client.asked) if since <= each.due < until]

    @property
    def paths(self) -> list[str]:
        return list(dict.fromkeys(each.path for each in self.asked()))

    @contextmanager
    def period(self, fault: str, *, without: Iterable[str] = ()) -> Iterator[Period]:
        """What is asked until the end of the block counts for the fault; `without` those clients."""
        period = Period(fault=fault, began=time.time(), without=frozenset(without))
        yield period
        period.ended = time.time()
        time.sleep(LIMIT + 0.5)  # until the fate of all of them is known
        period.figures = judged(period, self.asked(period.began, period.ended))
        self.periods.append(period)

    def settle(self, *, quiet: float = 8.0, within: float = 180.0, without: Iterable[str] = ()) -> float:
        """Wait until nothing has failed on any path for `quiet` seconds; how long after the call the last one did."""
        began, left_out = time.time(), frozenset(without)
        while True:
            now = time.time()
            recent = [each for each in self.asked(now - quiet - LIMIT) if each.client not in left_out]
            failed = [each for each in recent if not each.ok]
            if now - began >= quiet + LIMIT and not failed and recent:
                return (
                    max((e.due for e in self.asked(began) if not e.ok and e.client not in left_out), default=began)
                    - began
                )
            assert now - began < within, f"still failing after {within:.0f} s: {failed[-5:]}"
            time.sleep(0.5)

    def kubectl(self, words: str, stdin: bytes = b"") -> str:
        """On the first control plane that answers."""
        said = ""
        for node in self.control:
            done = self.lab.ask(node, f"kubectl --kubeconfig {ADMIN} --request-timeout=60s {words}", stdin)
            if done.returncode == 0:
                return done.stdout.decode()
            said += (done.stdout + done.stderr).decode()
        raise AssertionError(f"kubectl {words}: {said}")

    def lost(self) -> list[int]:
        """Numbers of writes that were acknowledged and are not there."""
        acknowledged = {each.number for each in self.asked() if each.path == "write" and each.ok}
        said = self.kubectl(f"get configmaps -n {SPACE} -l load={WRITES} -o name")
        there = {int(line.rpartition("-")[2]) for line in said.split()}
        assert acknowledged, "nothing was ever written"
        return sorted(acknowledged - there)

    def table(self) -> str:
        return table(self.periods)

    def as_json(self) -> str:
        names = [name for name in Figures.__slots__ if name != "fault"]
        return json.dumps(
            [
                {
                    "fault": period.fault,
                    "began": period.began,
                    "seconds": round(period.ended - period.began, 1),
                    "paths": [{name: getattr(each, name) for name in names} for each in period.figures],
                }
                for period in self.periods
            ],
            indent=1,
        )


# --- what is asked


@contextmanager
def running_load(
    lab: Lab, *, inside: Sequence[str], control: Sequence[str] = ("n1", "n2", "n3"), rate: float = 10.0
) -> Iterator[Load]:
    """Make what answers, and ask it, from here and from the hosts of `inside`, `rate` times a second on each path (half
    as often for what is written), until the end of the block. It begins when every path has answered."""
    load = Load(lab=lab, clients=[], control=tuple(control))
    address, entry = prepare(load)
    outside = [*_api(load, rate), _web("service", address, rate), _web("ingress", entry, rate)]
    load.clients.append(Client(HERE, [sys.executable, str(CLIENT), _told(outside)]))
    service = load.kubectl(f"get service web -n {SPACE} -o jsonpath={{.spec.clusterIP}}")
    within = [_web("cluster-ip", service, rate), *_names(rate)]
    load.clients += [inside_client(lab, node, within) for node in inside]
    for client in load.clients:
        client.start()
    try:
        wanted = {(HERE, each["name"]) for each in outside} | {
            (node, each["name"]) for node in inside for each in within
        }
        eventually(lambda: not wanted - {(each.client, each.path) for each in load.asked() if each.ok}, seconds=90)
        load.settle()
        yield load
    finally:
        for client in load.clients:
            client.end()


def inside_client(lab: Lab, node: str, targets: Sequence[dict[str, Any]]) -> Client:
    keep = ("-o", "ServerAliveInterval=3", "-o", "ServerAliveCountMax=2", "-o", "ConnectTimeout=3")
    command = ["ssh", "-F", str(lab.state / "ssh_config"), *keep, node, f"exec python3 - {shlex.quote(_told(targets))}"]
    return Client(node, command, CLIENT.read_bytes())


def _told(targets: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"limit": LIMIT, "targets": targets})


def prepare(load: Load) -> tuple[str, str]:
    """The addresses of the service and of the ingress, once both are given and pods are ready."""
    image = load.kubectl(
        "get deployment cluster-dns -n kube-system -o jsonpath={.spec.template.spec.containers[0].image}"
    )
    load.kubectl("apply -f -", (_OBJECTS % {"image": image}).encode())
    load.kubectl(f"rollout status deployment/web -n {SPACE} --timeout=50s")
    eventually(lambda: _address(load, "web"), seconds=60)
    return _address(load, "web"), _entry(load)


def _address(load: Load, name: str) -> str:
    return load.kubectl(f"get service {name} -n {SPACE} -o jsonpath={{.status.loadBalancer.ingress[0].ip}}")


def _entry(load: Load) -> str:
    """Of the ingress controller: the other LoadBalancer."""
    services = json.loads(load.kubectl("get services -A -o json"))["items"]
    found = [
        each for each in services if each["spec"]["type"] == "LoadBalancer" and each["metadata"]["namespace"] != SPACE
    ]
    return str(found[0]["status"]["loadBalancer"]["ingress"][0]["ip"])


def _api(load: Load, rate: float) -> list[dict[str, Any]]:
    config = yaml.safe_load(load.lab.run(load.control[0], f"cat {ADMIN}"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    address, _, port = cluster["server"].removeprefix("https://").rpartition(":")
    parts = {
        "authority": cluster["certificate-authority-data"],
        "certificate": user["client-certificate-data"],
        "key": user["client-key-data"],
    }
    tls = {name: base64.b64decode(text).decode() for name, text in parts.items()}
    base = {"kind": "http", "address": address, "port": int(port), "host": address, "tls": tls}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "write-NUMBER", "labels": {"load": WRITES}},
        "data": {"number": "NUMBER"},
    }
    write = {
        "method": "POST",
        "path": f"/api/v1/namespaces/{SPACE}/configmaps",
        "status": 201,
        "body": json.dumps(body),
    }
    return [
        {**base, "name": "api", "rate": rate, "path": "/readyz"},
        {**base, "name": "write", "rate": rate / 2, **write},
    ]


def _web(name: str, address: str, rate: float) -> dict[str, Any]:
    return {"name": name, "kind": "http", "rate": rate, "address": address, "port": 80, "host": HOST, "path": "/health"}


def _names(rate: float) -> list[dict[str, Any]]:
    return [
        {"name": f"dns-{server}-{what}", "kind": "dns", "rate": rate, "address": address, "question": question}
        for server, address in (("cache", CACHE), ("service", SERVICE))
        for what, question in (("known", _KNOWN), ("new", _NEW))
    ]
