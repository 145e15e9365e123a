"""What looks after the hosts of a cluster: certificates, what hangs, disks, images, and a host that is silent."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from tests.campaign_site import SHARED_KERNEL, Office
from tests.clusters import ADMIN, NESTED, answer_of, outer_address, outer_pool
from tests.nodes import Lab, lab_of, site_bundle
from tests.waiting import eventually

pytestmark = pytest.mark.long

ROLES = {"n1": ["site", "control-plane", "worker"], "n2": ["worker"]}
DISK, USED = "/dev/disk/by-id/lab-empty", "/dev/disk/by-id/lab-used"
FETCHED = "*haproxy-ingress*"
LEAVING = "/var/lib/bundle/kubernetes/leaving"  # there until nothing of the cluster is left on the host
CONFIG = "/etc/kubernetes/bundle/kubeadm.yaml"
# A loop device that nobody has, under a name that stays.
_LOOP = """[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
truncate -s 300M {file}; mkdir -p /dev/disk/by-id
for n in 1 2 3 4 5; do
  d=$(losetup -f); [ -e $d ] || mknod $d b 7 ${{d#/dev/loop}}
  losetup $d {file} && ln -sf $d {name} && exit 0
done; exit 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    lab: Lab
    office: Office
    lock: Lock

    def kubectl(self, words: str, stdin: str = "") -> str:
        return self.lab.run("n1", f"kubectl --kubeconfig {ADMIN} {words}", stdin=stdin.encode())

    def get(self, words: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl(f"get {words} -o json")))

    def write_site(self, *disks: dict[str, str]) -> None:
        """With these disks of n2."""
        cluster = f"{NESTED.removesuffix('}')}, prefetch: ['{FETCHED}']}}"
        components = f"{SHARED_KERNEL.removesuffix('}')}, {cluster}, {outer_pool(self.lab)}}}"
        text = self.lab.site_yaml(roles=ROLES, components=components)
        lines = []
        for line in text.splitlines():
            if line.startswith("- {") and (host := json.loads(line[2:]))["name"] == "n2":
                lines.append("- " + json.dumps({**host, "disks": disks}))
            else:
                lines.append(line)
        (self.office.folder / "site.yaml").write_text("\n".join(lines) + "\n")

    def shell_image(self) -> str:
        """An image of the release that has a shell."""
        return next(
            image.name for image in self.lock.images if image.reference.repository.endswith("flannel-io/flannel")
        )

    def works(self) -> bool:
        """Whether programs start in containers of n2."""
        (pod,) = (
            each["metadata"]["name"]
            for each in self.get("pods -n kube-flannel")["items"]
            if each["spec"]["nodeName"] == "n2"
        )
        words = f"timeout 10 kubectl --kubeconfig {ADMIN} -n kube-flannel exec {pod} -- true"
        return self.lab.ask("n1", words).returncode == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab_of(2) as lab:
        bundle = site_bundle(profile="lab-cluster")
        office = Office(lab=lab, folder=tmp_path_factory.mktemp("site"), bundle=bundle)
        lock = bundle.path.with_name("site.lock")
        found = Cluster(lab=lab, office=office, lock=parse_lock(lock.read_text(), file=str(lock)))
        try:
            for file, name in (("/root/empty", DISK), ("/root/used", USED)):
                lab.run("n2", _LOOP.format(file=file, name=name))
            lab.run("n2", f"mkswap -q {USED}")
            refused(found)
            found.write_site({"device": DISK, "use": "local", "size": "290Mi"})
            said = office.apply("--quiet")
            print(f"\nfrom bare hosts to a cluster: {len(office.ended())} actions in {said.seconds:.0f} s")
            yield found
        finally:
            with suppress(AssertionError):
                lab.run("n2", f"for d in {DISK} {USED}; do losetup -d $(readlink -f $d); done")


def refused(cluster: Cluster) -> None:
    """A disk with something on it, and one that is smaller than declared: said before any change."""
    cluster.write_site({"device": DISK, "use": "local", "size": "1Gi"}, {"device": USED, "use": "local"})
    said = cluster.office.apply(code=None)
    assert said.code != 0
    assert f"the disk {USED} is not empty (swap): nothing is done to it" in said.err
    assert f"site.yaml does not say what the disk {USED} holds" in said.err
    assert f"the disk {DISK} is smaller than site.yaml says: 300Mi, not 1Gi" in said.err
    assert cluster.office.journal() == []


POD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: local, accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: writer
    image: IMAGE
    command: [sh, -c, "COMMAND; exec sleep 3600"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def test_a_pod_keeps_what_it_writes_on_a_disk(cluster: Cluster) -> None:
    label = f"blkid -p -s LABEL -o value $(readlink -f {DISK})"
    assert cluster.lab.run("n2", label) == "bundle-local"
    pod = POD.replace("IMAGE", cluster.shell_image())
    cluster.kubectl("apply -f -", pod.replace("COMMAND", "echo kept > /data/file; sync"))
    cluster.kubectl("wait --for=condition=Ready pod/writer --timeout=120s")
    assert cluster.get("pod writer")["spec"]["nodeName"] == "n2"
    cluster.kubectl("delete pod writer")
    cluster.kubectl("apply -f -", pod.replace("COMMAND", "cat /data/file"))
    cluster.kubectl("wait --for=condition=Ready pod/writer --timeout=120s")
    assert cluster.kubectl("logs writer") == "kept"
    assert cluster.lab.run("n2", "head -c 10 /root/used | od -An -c | tr -d ' \\\\\\n0'") == "", "nothing was written"
    cluster.kubectl("delete pod writer")


def test_images_are_there_before_pods_want_them(cluster: Cluster) -> None:
    ended = cluster.office.ended()
    (fetched,) = (at for at, each in enumerate(ended) if each["target"].startswith("fetch ") and each["host"] == "n2")
    (ingress,) = (at for at, each in enumerate(ended) if each["step"] == "haproxy-ingress")
    assert fetched < ingress
    labels = cluster.lab.run("n2", "ctr -n k8s.io images ls | grep haproxy-ingress")
    assert "io.cri-containerd.pinned=pinned" in labels
    print(f"\n{ended[fetched]['target']}: {ended[fetched]['seconds']} s")


@pytest.mark.parametrize("unit", ["containerd.service", "kubelet.service"])
def test_what_hangs_is_started_again(cluster: Cluster, unit: str) -> None:
    eventually(cluster.works, seconds=120)
    eventually(lambda: _runs_for(cluster, unit) > 60, seconds=90)
    running = cluster.lab.run("n2", "pgrep -x flanneld")
    began = time.monotonic()
    cluster.lab.run("n2", f"systemctl kill --kill-who=main -s STOP {unit}")
    assert not cluster.works()
    eventually(cluster.works, seconds=180)
    print(f"\n{unit} hangs: programs start in its containers again after {time.monotonic() - began:.1f} s")
    assert cluster.lab.run("n2", "pgrep -x flanneld") == running, "containers run on"


def _runs_for(cluster: Cluster, unit: str) -> float:
    text = f"systemctl show -p ActiveEnterTimestampMonotonic --value {unit}; cut -d. -f1 /proc/uptime"
    since, now = map(int, cluster.lab.run("n2", text).split())
    return now - since / 1e6


def test_the_address_of_the_cache_of_names_comes_back(cluster: Cluster) -> None:
    there = "ip -o address show to 169.254.20.10"
    cluster.lab.run("n2", f"set -- $({there}); ip address del $4 dev $2")
    assert cluster.lab.run("n2", there) == ""
    eventually(lambda: cluster.lab.run("n2", there) != "", seconds=60)


def test_certificates_that_end_soon_are_renewed(cluster: Cluster) -> None:
    office, line = cluster.office, "kind: ClusterConfiguration"
    text = f"""sed 's/^{line}/{line}\\ncertificateValidityPeriod: 240h/' {CONFIG} > /root/short.yaml
kubeadm certs renew all --config /root/short.yaml"""
    cluster.lab.run("n1", text)
    said = office.run("status", "--json").json()
    (part,) = (each for each in said["components"] if each["name"] == "kubernetes")
    print(f"\n{part['certificates']}")
    assert any("ends in 9 days" in finding["found"] for finding in said["findings"])
    before, began = restarts(cluster), len(office.ended())
    done = office.apply("--quiet")
    assert [each["target"] for each in office.ended()[began:]] == ["renew certificates"]
    print(f"\nrenewed, and four programs restarted, in {done.seconds:.0f} s")
    after = restarts(cluster)
    assert {name for name in after if after[name] > before[name]} == set(after)
    assert not any("ends in" in finding["found"] for finding in office.run("status", "--json").json()["findings"])
    assert office.apply("--json").json()["actions"] == 0


def restarts(cluster: Cluster) -> dict[str, int]:
    pods = cluster.get("pods -n kube-system -l tier=control-plane")["items"]
    return {each["metadata"]["name"]: each["status"]["containerStatuses"][0]["restartCount"] for each in pods}


STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: one}
spec:
  serviceName: one
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec:
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n2]}]}
      containers: [{name: one, image: IMAGE, command: [sleep, "3600"]}]
"""


def test_pods_of_a_host_that_is_off_move_when_people_say_so(cluster: Cluster) -> None:
    """Until then nothing moves them, and `bundle health` says what may be done."""
    address = outer_address(cluster.get("services -A")["items"])
    # Without any Ingress the controller does not listen.
    cluster.kubectl("create ingress names -n kube-system --rule='names.lab.example/*=kube-dns:9153'")
    eventually(lambda: answer_of(address, "names.lab.example") == 200, seconds=60)
    cluster.kubectl("apply -f -", STATEFUL.replace("IMAGE", cluster.shell_image()))
    cluster.kubectl("rollout status statefulset/one --timeout=120s")
    assert cluster.get("pod one-0")["spec"]["nodeName"] == "n2"
    cluster.lab.kill("n2")
    try:
        # By a host that is a control plane too: kubeadm wants none of them to announce outer addresses.
        eventually(lambda: answer_of(address, "names.lab.example") == 200, seconds=60)
        eventually(lambda: "deletionTimestamp" in cluster.get("pod one-0")["metadata"], seconds=180)
        said = cluster.office.run("health", "--json", code=69).json()
        (finding,) = (each for each in said["findings"] if "for it: default/one-0" in each["found"])
        command = finding["fix"].partition("plug pulled: `kubectl ")[2].partition("`")[0]
        began = time.monotonic()
        cluster.kubectl(command)
        eventually(lambda: _node_of(cluster) == "n1", seconds=120)
        print(f"\n`kubectl {command}`: the pod is on another host after {time.monotonic() - began:.1f} s")
    finally:
        cluster.lab.start("n2")
    cluster.kubectl("wait --for=condition=Ready node/n2 --timeout=180s")
    cluster.kubectl("taint node n2 node.kubernetes.io/out-of-service-")


def _node_of(cluster: Cluster) -> str:
    with suppress(AssertionError):
        return str(cluster.get("pod one-0")["spec"].get("nodeName", ""))
    return ""


def test_a_host_loses_its_power_while_it_leaves_for_good(cluster: Cluster) -> None:
    """What was left of it belongs to no cluster: the next installation clears it away before it makes its own."""
    lab, office = cluster.lab, cluster.office
    with office.start("uninstall", "kubernetes", "--purge", "--yes", "--quiet") as process:
        eventually(lambda: lab.ask("n1", f"test -e {LEAVING}").returncode == 0, seconds=300, every=0.05)
        lab.kill("n1")
        said = process.communicate(timeout=600)[1]
    assert process.returncode != 0
    assert "n1" in said
    lab.start("n1")
    assert lab.ask("n1", f"test -e {LEAVING}").returncode == 0
    again = office.apply("--quiet")
    print(f"\nthere again in {again.seconds:.0f} s")
    assert lab.ask("n1", f"test -e {LEAVING}").returncode == 1
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=60s")
    assert office.apply("--json").json()["actions"] == 0
    assert office.run("health").code == 0


def test_the_whole_cluster_goes_and_comes_again(cluster: Cluster) -> None:
    """Nothing of it runs, is mounted or lies about; what pods wrote on the site's disks does, and others' rules."""
    lab, office = cluster.lab, cluster.office
    own = "POSTROUTING -s 10.99.0.0/16 -j MASQUERADE"
    lab.run("n2", f"iptables -t nat -A {own}")
    gone = office.run("uninstall", "kubernetes", "--purge", "--yes", "--quiet")
    for node in ROLES:
        for trace in (
            "pgrep -l 'kubelet|containerd|etcd|kube-|flanneld'",
            "findmnt -rno TARGET | grep -e /var/lib/kubelet -e /run/containerd -e netns",
            "find /etc/kubernetes /etc/cni /var/lib/kubelet /var/lib/etcd /var/lib/containerd /var/lib/cni -type f",
            "ip -o link | grep -e cni0 -e flannel -e veth",
            "iptables-save | grep -e KUBE -e FLANNEL -e CNI",
        ):
            assert lab.ask(node, trace).stdout == b"", node
    assert lab.run("n2", f"blkid -p -s LABEL -o value $(readlink -f {DISK})") == "bundle-local"
    lab.run("n2", f"iptables -t nat -D {own}")
    again = office.apply("--quiet")
    print(f"\ngone in {gone.seconds:.0f} s, there again in {again.seconds:.0f} s")
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=60s")
    assert office.apply("--json").json()["actions"] == 0
    assert office.run("health").code == 0
