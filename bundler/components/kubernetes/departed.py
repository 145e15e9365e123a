"""What the cluster still has of hosts that are gone: replaced by bare ones, or out of site.yaml.

It is looked at, and done, by the first control plane whose etcd answers. An etcd member goes only when nothing answers
at its address and the others are a majority; a node only when it carries our mark, or its host is bare.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.etcd import CLIENT, CLIENT_PORT
from bundler.components.kubernetes.kubeadm import SITE_LABEL
from bundler.components.kubernetes.nodes import NODE, Node, sent_away
from bundler.components.kubernetes.pki import NODES, control_planes
from bundler.components.kubernetes.releases import ADMIN
from bundler.components.kubernetes.restore import STATE_FACT
from bundler.components.kubernetes.runtime import BIN
from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, Facts, HostFacts
from bundler.steps.step import Check, Finding, Goal

_DRAIN, _SILENT = 600, 60  # seconds: for the pods of one host to go, until a host that is gone counts as not ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of etcd; one that never started has no name."""

    id: str
    name: str
    address: str
    healthy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A Node of the API: `site` is what our mark says."""

    name: str
    site: str
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one control plane says of the cluster; no members: it said nothing."""

    members: tuple[Member, ...] = ()
    nodes: tuple[Seen, ...] = ()


def _view(said: str) -> View:
    lines = [line.split(" ", 1) for line in said.splitlines()]
    healthy = {rest for word, rest in lines if word == "healthy"}
    members, nodes = [], []
    for word, rest in lines:
        if word == "member":
            number, _, name, peer, *_ = rest.split(", ")
            address = peer.partition("://")[2].rpartition(":")[0].strip("[]")
            members.append(Member(id=number, name=name, address=address, healthy=address in healthy))
        elif word == "node":
            name, site, ready = rest.split("|")
            nodes.append(Seen(name=name, site=site, ready=ready == "True"))
    return View(members=tuple(members), nodes=tuple(nodes))


_LINE = f'{{.metadata.name}}|{{.metadata.labels.{SITE_LABEL}}}|{{.status.conditions[?(@.type=="Ready")].status}}'
VIEW: Ask[View] = Ask(
    name="what the cluster has of its hosts",
    script=f"""[ -f {ADMIN} ] && [ -x {BIN}/etcdctl ] || exit 0
{CLIENT}members=$(etcd member list 2>/dev/null) || exit 0
nodes=$(kubectl --kubeconfig {ADMIN} --request-timeout=20s get nodes \\
  -o jsonpath='{{range .items[*]}}node {_LINE}{{"\\n"}}{{end}}' 2>/dev/null) || exit 0
printf '%s\\n' "$members" | sed 's/^/member /'
printf '%s\\n' "$nodes"
etcd --command-timeout=8s endpoint health --cluster 2>&1 | \\
  sed -n 's|^https://\\(.*\\):{CLIENT_PORT} is healthy.*|healthy \\1|p' | tr -d '[]'
""",
    reading=_view,
    bare=View(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What is left of hosts that are gone, as `by` sees it: `members` of etcd; nodes of hosts that are `bare` now, and
    of those that have `left` the site. `unmarked` are nodes of the site's hosts that lack our mark."""

    by: str
    view: View
    members: tuple[Member, ...] = ()
    bare: tuple[Seen, ...] = ()
    left: tuple[Seen, ...] = ()
    unmarked: tuple[Seen, ...] = ()


def gone(goal: Goal, facts: Facts) -> Gone | None:
    """None when no control plane says anything of the cluster."""
    by = next((host.name for host in control_planes(goal) if _known(facts, host.name, VIEW, View()).members), None)
    if by is None:
        return None
    view = facts.of(by)[VIEW]
    hosts = {host.name: host for host in goal.site.hosts if host.is_among(NODES)}
    bare = {name for name in hosts if _is_bare(_known(facts, name, NODE, Node(begun=True)))}
    left = [node for node in view.nodes if node.name not in hosts and node.site == goal.site.name]
    return Gone(
        by=by,
        view=view,
        members=tuple(_dead_members(goal, view, bare, {node.name for node in left})),
        bare=tuple(node for node in view.nodes if node.name in bare),
        left=tuple(left),
        unmarked=tuple(node for node in view.nodes if node.name in {*hosts} - bare and node.site != goal.site.name),
    )


def _known(facts: Facts, host: str, fact: Fact[Any], otherwise: Any) -> Any:
    """A host that was not asked, or could not be, is in no state that something is done about."""
    try:
        return facts.of(host)[fact]
    except FactUnknown:
        return otherwise


def _is_bare(node: Node) -> bool:
    return not node.joined and not node.begun


def _dead_members(goal: Goal, view: View, bare: set[str], left: set[str]) -> Iterator[Member]:
    nodes = {node.name for node in view.nodes}
    for member in view.members:
        owners = [h.name for h in control_planes(goal) if member.name == h.name or member.address == str(h.address)]
        if owners:
            dead = bool(bare.intersection(owners))
        else:  # its host has left the site: it is ours, or nobody's any more
            dead = member.name in left or member.name not in nodes
        if dead and not member.healthy:
            yield member


@dataclass(frozen=True, kw_only=True)
class Departed:
    """Nothing is left in the cluster of hosts that are gone, before others join; and its nodes carry our mark."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (VIEW, NODE)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        found = None if self.goal.recovery else gone(self.goal, facts.all)
        if found is None or found.by != self.host.name:
            return
        for member in found.members:
            what = f"forget etcd member {member.name or 'without a name'} at {member.address}"
            yield Run(
                name=what, text=_forget(member), timeout=120, reason="nothing answers there, and it is bare or gone"
            )
        for node in found.bare:
            why = "the host is bare, and joins anew"
            yield Run(name=f"forget node {node.name}", text=_delete(node.name), timeout=180, reason=why)
        for node in found.left:
            why = "it is not in site.yaml any more"
            yield Run(name=f"remove node {node.name}", text=_remove(node.name), timeout=_DRAIN + 240, reason=why)
        if found.unmarked:
            names = " ".join(node.name for node in found.unmarked)
            text = f"{_KUBECTL}k label node --overwrite {names} {SITE_LABEL}={shlex.quote(self.goal.site.name)}\n"
            yield Run(name=f"mark as this site's: {names}", text=text, reason="they are in site.yaml")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


_KUBECTL = f'k() {{ kubectl --kubeconfig {ADMIN} --request-timeout=30s "$@"; }}\n'


def _forget(member: Member) -> str:
    address = f"[{member.address}]" if ":" in member.address else member.address
    # 7: nobody listens; 28: nobody answers.
    return f"""{CLIENT}curl -sk -o /dev/null --connect-timeout 5 -m 10 https://{address}:{CLIENT_PORT}/health; c=$?
[ $c = 7 ] || [ $c = 28 ] || {{ echo "something answers at {address}:{CLIENT_PORT}: it is not gone" >&2; exit 1; }}
all=$(etcd member list) || exit 1
case $all in *"{member.id}, "*) etcd member remove {member.id} || exit 1 ;; esac
"""


def _delete(name: str) -> str:
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    # It is asked again: a machine that says every few seconds that it is this node is not the bare one.
    return f"""{_KUBECTL}n=0
while [ "$(k get node {name} --ignore-not-found -o 'jsonpath={ready}')" = True ]
do n=$((n+1)); [ $n -lt {_SILENT // 2} ] || {{ echo "another machine is node {name}, and ready" >&2; exit 1; }}
sleep 2; done
k delete node {name} --ignore-not-found --timeout=60s
"""


def _remove(name: str) -> str:
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    return f"""{_KUBECTL}[ -n "$(k get node {name} --ignore-not-found -o name)" ] || exit 0
k cordon {name} || exit 1
if [ "$(k get node {name} -o 'jsonpath={ready}')" = True ]; then
  {sent_away(name)}  kubectl --kubeconfig {ADMIN} drain {name} \\
    --ignore-daemonsets --delete-emptydir-data --timeout={_DRAIN}s || exit 1
fi
k delete node {name} --ignore-not-found --timeout=60s
"""


def departed(goal: Goal, host: SiteHost) -> tuple[Departed, ...]:
    """The step's resources."""
    return (Departed(goal=goal, host=host),)


# --- before the first change


def _asks(goal: Goal, host: SiteHost) -> tuple[Fact[Any], ...]:
    return (NODE, VIEW, STATE_FACT) if host in control_planes(goal) else (NODE,)


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for host, found, fix in _wrong(goal, facts):
        yield Finding(host=host, check=DEPARTED_CHECK.name, found=found, fix=fix)


def _wrong(goal: Goal, facts: Facts) -> Iterator[tuple[str, str, str]]:
    servers = [host for host in control_planes(goal) if host.name in facts.hosts]
    for host in servers:
        if facts.of(host.name)[STATE_FACT].stopped:
            fix = "`bundle restore kubernetes` goes on with it."
            yield host.name, "its control plane is stopped: etcd was being restored when that was cut off", fix
            return
    found = gone(goal, facts)
    if found is None:
        joined = [host for host in servers if facts.of(host.name)[NODE].joined]
        bare = [host.name for host in servers if _is_bare(facts.of(host.name)[NODE])]
        if joined and bare:
            what = f"etcd does not answer on {', '.join(host.name for host in joined)}, and nobody can join it"
            fix = f"Where {', '.join(bare)} was a majority: `bundle restore kubernetes` makes etcd anew on the others."
            yield joined[0].name, what, f"{fix} Else see `bundle health`."
        return
    running = {member.name for member in found.view.members if member.healthy}
    for node in found.left:
        if node.name in running:
            fix = f"Put it back, `bundle uninstall kubernetes --limit {node.name} --purge`, take it out; or stop it."
            yield found.by, f"{node.name} is not in site.yaml, and its control plane runs", fix
    rest = [member for member in found.view.members if member not in found.members]
    if found.members and 2 * sum(member.healthy for member in rest) <= len(rest):
        names = ", ".join(member.name or member.address for member in found.members)
        fix = "Start those that do not answer, then run this again."
        yield found.by, f"without {names} etcd would have no majority", fix


DEPARTED_CHECK = Check(name="kubernetes: hosts that are gone", asks=_asks, judge=_judge, roles=NODES)
