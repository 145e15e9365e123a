"""What ends: kubeadm's certificates and the kubelet's, on each host of the cluster.

Control planes renew kubeadm's by themselves: a timer's script looks every night, an hour apart from host to host, and
`bundle apply` runs the same script. The kubelet renews its own; one that was switched off for too long is let in anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bundler.components.kubernetes.kubeadm import CONFIG, KUBELET_CERTIFICATE
from bundler.components.kubernetes.nodes import STATE
from bundler.components.kubernetes.pki import CONTROL_PLANE, NODES, RENEW_BEFORE, control_planes, joining
from bundler.components.kubernetes.pki import FOLDER as PKI
from bundler.components.kubernetes.settings import API_PORT
from bundler.model.site import SiteHost
from bundler.secrets.certificates import certificate_facts
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.render import render
from bundler.steps.resources import File, Service
from bundler.steps.step import Check, Goal, Remedy

TIMER = "bundle-cluster-certificates.timer"
SCRIPT = "/etc/bundle/kubernetes/renew-certificates"
_SERVICE = TIMER.replace(".timer", ".service")
_MARK = f"{STATE}/renewing"
_URGENT = timedelta(days=30)  # whoever renews has had two weeks by then
_CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_BOOTSTRAP = "/etc/kubernetes/bootstrap-kubelet.conf"
_FIRST_HOUR = 2
CLIENT, SERVING = "kubelet-client", "kubelet"
ROOTS = ("ca", "etcd/ca", "front-proxy-ca")
# What `kubeadm certs renew` renews, below its folder and in kubeconfigs.
_RENEWED = (
    "apiserver",
    "apiserver-etcd-client",
    "apiserver-kubelet-client",
    "front-proxy-client",
    "etcd/healthcheck-client",
    "etcd/peer",
    "etcd/server",
)
_CONFIGS = ("admin", "controller-manager", "scheduler", "super-admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """When each certificate ends, by its name. `begun`: a renewal was not finished."""

    ends: Mapping[str, datetime] = field(default_factory=dict)
    begun: bool = False


def _read(said: str) -> Ends:
    found = {}
    head, *parts = said.split("= ")
    for part in parts:
        name, _, pem = part.partition("\n")
        if facts := certificate_facts(pem):
            found[name] = facts.not_after
    return Ends(ends=found, begun="begun" in head)


_FILES = [(name, f"{PKI}/{name}.crt") for name in (*ROOTS, *_RENEWED)]
# Only certificates leave the host: a kubelet's own lies in one file with its key. What is not there is not said.
ENDS: Ask[Ends] = Ask(
    name="when its certificates end",
    script="\n".join(
        (
            f"[ ! -f {_MARK} ] || echo begun",
            "c() { [ ! -f $2 ] || { echo; echo \"= $1\"; sed -n '/BEGIN CERT/,/END CERT/p' $2; }; }",
            "k() { [ ! -f $2 ] || { echo; echo \"= $1\"; sed -n 's/^ *client-certificate-data: //p' $2 | base64 -d",
            "}; }",
            *(f"c {name} {path}" for name, path in (*_FILES, (CLIENT, _CLIENT), (SERVING, KUBELET_CERTIFICATE))),
            *(f"k {name}.conf /etc/kubernetes/{name}.conf" for name in _CONFIGS),
            ":",
        )
    ),
    reading=_read,
    bare=Ends(),
)


def _renews(name: str) -> bool:
    return name in _RENEWED or name.removesuffix(".conf") in _CONFIGS


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Those of a host that is one of the cluster's hold for some time yet."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (ENDS,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        ends, now = facts[ENDS].ends, self.goal.now
        if facts[ENDS].begun:
            yield self._renewal("that was begun and not finished")
        elif due := sorted(name for name, end in ends.items() if _renews(name) and end < now + RENEW_BEFORE):
            first = min(due, key=lambda name: ends[name])
            yield self._renewal(f"{first} ends {ends[first]:%Y-%m-%d}")
        if CLIENT in ends and ends[CLIENT] <= now:
            text, stdin = _let_in(), joining(self.goal)
            reason = f"its certificate ended {ends[CLIENT]:%Y-%m-%d}"
            yield Run(name="let its kubelet in again", text=text, stdin=stdin, timeout=240, reason=reason)

    def _renewal(self, reason: str) -> Action:
        return Run(name="renew certificates", text=f"exec /bin/sh {SCRIPT}\n", timeout=1500, reason=reason)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()

    def ends(self, facts: HostFacts) -> Iterator[tuple[str, datetime]]:
        yield from facts[ENDS].ends.items()


def _let_in() -> str:
    """A kubelet whose own certificate has ended asks for another by what it joins with."""
    return f"""umask 077; cat > {_BOOTSTRAP} || exit 1
trap 'rm -f {_BOOTSTRAP}' EXIT
was=$(readlink {_CLIENT})
systemctl restart kubelet.service || exit 1
n=0; while [ "$(readlink {_CLIENT})" = "$was" ]
do n=$((n+1)); [ $n -lt 90 ] || {{ echo "the cluster gives it no certificate" >&2; exit 1; }}; sleep 2; done
"""


def renewing(goal: Goal, host: SiteHost) -> Service:
    """The timer of a control plane, an hour after that of the one before: one etcd restarts at a time."""
    turn = control_planes(goal).index(host)
    script = render(
        __package__,
        "renew.sh.j2",
        config=CONFIG,
        days=RENEW_BEFORE.days,
        files=[f"{PKI}/{name}.crt" for name in _RENEWED],
        configs=[f"/etc/kubernetes/{name}.conf" for name in _CONFIGS],
        state=STATE,
        mark=_MARK,
        api=f"https://127.0.0.1:{API_PORT}",
    )
    service = render(__package__, "renew.service.j2", unit=_SERVICE, script=SCRIPT)
    timer = render(__package__, "renew.timer.j2", unit=TIMER, hour=(_FIRST_HOUR + turn) % 24)
    return Service(
        unit=TIMER,
        files=(
            File(path=SCRIPT, content=script),
            File(path=f"/etc/systemd/system/{_SERVICE}", content=service),
            File(path=f"/etc/systemd/system/{TIMER}", content=timer),
        ),
    )


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    """One note for each way of renewing, by what ends first."""
    seen = set()
    for name, end in sorted(facts[ENDS].ends.items(), key=lambda each: each[1]):
        fix, remedy = _renewal(name, host)
        if end >= goal.now + _URGENT or fix in seen:
            continue
        seen.add(fix)
        when = f"ends in {(end - goal.now).days} days" if end > goal.now else f"ended {end:%Y-%m-%d}"
        yield Note(f"its certificate {name} {when}", fix, remedy=remedy)


def _renewal(name: str, host: SiteHost) -> tuple[str, Remedy | None]:
    member = f"kubernetes/{CONTROL_PLANE}" if host.has(CONTROL_PLANE) else "kubernetes/worker-kept"
    if name in ROOTS:
        return "All certificates of the cluster end with it: plan a new authority, with a time to stand still.", None
    if name == CLIENT:
        fix = (
            "The kubelet renews it by itself: `journalctl -u kubelet` says why not; when it has ended, `bundle apply`."
        )
        return fix, Remedy(steps=(member,))
    if name == SERVING:
        return "`bundle apply` brings a new one.", Remedy(steps=("kubernetes/programs",))
    fix = f"`bundle apply` renews it; `journalctl -u {_SERVICE}` says why that did not happen by night."
    return fix, Remedy(steps=(member,))


CHECK: Check = replace(
    per_host("kubernetes: certificates", lambda goal, host: (ENDS,), _judge, every=3600), roles=NODES
)
