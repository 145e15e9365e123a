"""Whether a host is one of the cluster's, and what makes it one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.etcd import beginning
from bundler.components.kubernetes.kubeadm import JOIN_CONFIG, JOINING, cluster_text, control_settings
from bundler.components.kubernetes.pki import CONTROL_PLANE, WORKER, administering, control_planes, joining
from bundler.components.kubernetes.releases import ADMIN
from bundler.components.kubernetes.runtime import BIN
from bundler.components.kubernetes.settings import settings_of
from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.step import Goal

STATE = "/var/lib/bundle/kubernetes"
KEPT = f"{STATE}/before"  # what a host ran, while it changes
STATIC = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_DATA = "DirAvailable--var-lib-etcd"
# What a run that was cut off leaves: kubeadm's phases go on from there, its checks before them would not.
_BEGUN = (
    "DirAvailable--etc-kubernetes-manifests",
    _DATA,
    "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
    "FileAvailable--etc-kubernetes-kubelet.conf",
    "FileAvailable--etc-kubernetes-pki-ca.crt",
    *(f"FileAvailable--etc-kubernetes-manifests-{name}.yaml" for name in STATIC),
    *(f"Port-{port}" for port in (2379, 2380, 6443, 10250, 10257, 10259)),
)
_JOINED = f"mkdir -p {STATE} && : > {STATE}/joined && sync {STATE}"
_ADMIN, _DRAIN = "/run/bundle/leaving.conf", 600
_CHAINS = "KUBE|FLANNEL|CNI"
_LEAVING = f"{STATE}/leaving"  # until nothing of the cluster is left on the host
# What kubeadm leaves to others goes too: rules and interfaces of kube-proxy and of the pods' network.
_RESET = f"""mkdir -p {STATE} && : > {_LEAVING} || exit 1
rm -rf {STATE}/joined {STATE}/control {STATE}/drained {STATE}/manifests {KEPT}
kubeadm reset --force --cleanup-tmp-dir || exit 1
rm -rf /etc/cni/net.d /var/lib/cni /run/flannel /etc/kubernetes/manifests
for link in cni0 flannel.1 kube-ipvs0; do
  ! ip link show $link >/dev/null 2>&1 || ip link delete $link || exit 1
done
for tables in iptables ip6tables; do
  rules=$($tables-save) || continue
  printf '%s\\n' "$rules" | grep -Eq '^:({_CHAINS})-' || continue
  printf '%s\\n' "$rules" | grep -Ev '^:({_CHAINS})-|-[Aj] ({_CHAINS})-' | $tables-restore || exit 1
done
for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null; done
rm -f {_LEAVING}
"""
# Its beginning was cut off: what is there belongs to a cluster that it has left.
_CLEARED = f"""if [ -e {_LEAVING} ]; then
{_RESET}fi
"""
_FIRST = "/run/bundle/init.yaml"
# A host that has it is chosen for no Service's outer address; kubeadm gives it to all control planes.
_UNCHOSEN = "node.kubernetes.io/exclude-from-external-load-balancers"
_ELSEWHERE = 3  # seconds until another host has said that it has the address
_CGROUP_V1 = ("SystemVerification",)  # which refuses nothing else that the site's own preflight lets pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`joined`: it was made a part of the cluster, to the end. `begun`: something of that is there. `drained`: its pods
    were moved away by us, and it takes no new ones. `kept`: what it ran before is kept until what it has is proved.
    `serves` is the version of its API server, of a control plane; `control` what that was made from, to the end.
    `kubelet` is its kubelet's version."""

    joined: bool = False
    begun: bool = False
    drained: bool = False
    kept: bool = False
    serves: str = ""
    control: str = ""
    kubelet: str = ""


def _node(said: str) -> Node:
    words = said.split()
    texts = dict(word.split("=", 1) for word in words if "=" in word)
    return Node(
        joined="joined" in words,
        begun="begun" in words,
        drained="drained" in words,
        kept="kept" in words,
        serves=texts.get("serves", ""),
        control=texts.get("control", ""),
        kubelet=texts.get("kubelet", ""),
    )


NODE: Ask[Node] = Ask(
    name="its part in the cluster",
    script=f"""if [ -f {STATE}/joined ] && [ -f /etc/kubernetes/kubelet.conf ]; then echo joined; fi
if [ -d /var/lib/etcd/member ] || [ -e /etc/kubernetes/kubelet.conf ] || \\
  [ -n "$(ls /etc/kubernetes/manifests 2>/dev/null)" ] || [ -e {_LEAVING} ]; then echo begun; fi
if [ -f {STATE}/drained ]; then echo drained; fi
if [ -d {KEPT} ]; then echo kept; fi
sed 's/^/control=/' {STATE}/control 2>/dev/null
{BIN}/kubelet --version 2>/dev/null | sed -n 's/Kubernetes v/kubelet=/p'
sed -n 's/.*image: .*kube-apiserver:v/serves=/p' /etc/kubernetes/manifests/kube-apiserver.yaml 2>/dev/null || :""",
    reading=_node,
    bare=Node(),
)


def known(facts: HostFacts, name: str) -> Node | None:
    """What another host said; None where it was not heard."""
    try:
        return facts.all.of(name)[NODE]
    except FactUnknown:
        return None


def sent_away(name: str) -> str:
    """sh text, with kubectl as `k`: outer addresses of Services go to other hosts while this one still serves them. A
    drain alone takes the pods first, and then the address."""
    return f"if k label node {name} {_UNCHOSEN}=bundle >/dev/null 2>&1; then sleep {_ELSEWHERE}; fi\n"


def welcome(name: str) -> str:
    """sh text, with kubectl as `k`: they may come back, where it was us who sent them away."""
    have = "{.metadata.labels." + _UNCHOSEN.replace(".", "\\.") + "}"
    return f"""[ "$(k get node {name} -o 'jsonpath={have}')" != bundle ] || k label node {name} {_UNCHOSEN}-"""


def ignored(goal: Goal, have: Node, *more: str) -> str:
    """The argument by which kubeadm goes on where its checks would stop it."""
    names = (*(_BEGUN if have.begun else ()), *(_CGROUP_V1 if settings_of(goal).cgroup_v1 else ()), *more)
    return f"--ignore-preflight-errors={','.join(names)}" if names else ""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A host is one of the cluster's. The first control plane makes the cluster, when none of the others has one."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[NODE]
        if have.joined:
            return
        reason = "it was not finished" if have.begun else "it is not one of the cluster's"
        if self.host in control_planes(self.goal) and not self._exists(facts):
            config = cluster_text(self.goal, self.host).encode()
            yield Run(name="make the cluster", text=self._init(have), timeout=900, stdin=config, reason=reason)
        else:
            by = joining(self.goal)
            yield Run(name="join the cluster", text=self._join(have, facts), timeout=900, stdin=by, reason=reason)

    def _exists(self, facts: HostFacts) -> bool:
        """Whether there is a cluster to join, or will be when this host's turn comes. Raises FactUnknown where one of
        the control planes was not asked: nobody makes a second cluster beside one that is only out of sight."""
        others = [host.name for host in control_planes(self.goal)]
        if self.host.name != others[0]:
            return True
        return any(facts.all.of(name)[NODE].joined for name in others[1:])

    def _init(self, have: Node) -> str:
        return f"""umask 077; mkdir -p /run/bundle && cat > {_FIRST} || exit 1
{_CLEARED}{beginning(self.goal, self.host)}kubeadm init --config {_FIRST} {ignored(self.goal, have, _DATA)} || exit 1
rm -f {_FIRST}
{self._chosen()}{self._made()}{_JOINED}
"""

    def _chosen(self) -> str:
        """Of a control plane that is a worker too: it may have outer addresses of Services."""
        if not (self.host.has(CONTROL_PLANE) and self.host.has(WORKER)):
            return ""
        return f"kubectl --kubeconfig {ADMIN} label node {self.host.name} {_UNCHOSEN}- || exit 1\n"

    def _made(self) -> str:
        return f"mkdir -p {STATE} && printf '%s\\n' {control_settings(self.goal)} > {STATE}/control || exit 1\n"

    def _is_current(self, facts: HostFacts) -> bool:
        """Whether the cluster, when this host's turn comes, is what the release says: what joins is made as that is."""
        names = [host.name for host in control_planes(self.goal)]
        have = {name: node for name in names if (node := known(facts, name)) and node.joined}
        stale = any(node.control != control_settings(self.goal) for node in have.values())
        return not stale or any(name in have for name in names[: names.index(self.host.name)])

    def _join(self, have: Node, facts: HostFacts) -> str:
        serves = self.host in control_planes(self.goal) and self._is_current(facts)
        return f"""umask 077; mkdir -p /run/bundle && cat > {JOINING} || exit 1
trap 'rm -f {JOINING}' EXIT
{_CLEARED}kubeadm join --config {JOIN_CONFIG} {ignored(self.goal, have)} || exit 1
{self._chosen()}{self._made() if serves else ""}{_JOINED}
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """The last of a host's resources, and so the first to go: its pods end well only while its kubelet runs."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from ()

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[NODE]
        if purge and (have.joined or have.begun):
            # The others go on without it, when it is not the cluster as a whole that goes.
            others = any(host.name not in facts.all.hosts for host in control_planes(self.goal) if host != self.host)
            stdin, timeout = (administering(self.goal), _DRAIN + 700) if others else (b"", 600)
            text = self._leave() if others else _RESET
            yield Run(
                name="leave the cluster", text=text, stdin=stdin, timeout=timeout, reason="it holds the cluster's data"
            )

    def _leave(self) -> str:
        """Its pods go first, and its member of etcd, which kubeadm removes; where nobody answers it just goes."""
        name = self.host.name
        return f"""umask 077; mkdir -p /run/bundle && cat > {_ADMIN} || exit 1
trap 'rm -f {_ADMIN}' EXIT
k() {{ kubectl --kubeconfig {_ADMIN} "$@"; }}
if [ -n "$(k --request-timeout=30s get node {name} -o name 2>/dev/null)" ]; then
  {sent_away(name)}  k drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={_DRAIN}s || exit 1
fi
{_RESET}k --request-timeout=60s delete node {name} --ignore-not-found || :
"""
