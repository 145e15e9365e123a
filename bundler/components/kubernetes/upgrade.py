"""A control plane runs the version of the release with the settings of site.yaml: by kubeadm, whether it is the one or
the other that changed.

One host after the other (its step is rolling), each judged by its own API server and its own member of etcd: where one
does not come up it is put back, and those behind it stay as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.kubeadm import CONFIG, control_settings
from bundler.components.kubernetes.nodes import NODE, STATE, STATIC, Node, ignored, known
from bundler.components.kubernetes.pki import FOLDER as PKI
from bundler.components.kubernetes.pki import control_planes
from bundler.components.kubernetes.runtime import version_of
from bundler.components.kubernetes.settings import API_PORT
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Fact, HostFacts
from bundler.steps.step import Goal

_MANIFESTS, _KEPT = "/etc/kubernetes/manifests", f"{STATE}/manifests"
_WAIT, _TIMEOUT = 240, 2400  # seconds: until it must be well, and for all of it where each pod takes its time
# Kubelets are changed while their pods are elsewhere (window.py); addons are the cluster's, not a host's.
_LEFT_OUT = "--skip-phases=addon,kubelet-config,post-upgrade"
# It looks for a Corefile of its own making, though it is told to leave names alone.
_DNS = ("CoreDNSUnsupportedPlugins", "CoreDNSMigration")


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A control plane that is one of the cluster's is what the release and site.yaml say. The first to become so brings
    the cluster's own settings; kubeadm starts what differs anew, and puts it back where that does not run."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have, version = facts[NODE], version_of(self.goal, "kubernetes")
        if self.host not in control_planes(self.goal) or not have.joined:
            return
        if have.serves != version:
            name, reason = f"upgrade the control plane to {version}", f"it has {have.serves or 'no API server'}"
        elif have.control != control_settings(self.goal):
            name, reason = "give the control plane its settings", "it runs with others, or was not finished"
        else:
            return
        yield Run(name=name, text=self._text(self._kubeadm(version, facts), version), timeout=_TIMEOUT, reason=reason)

    def _kubeadm(self, version: str, facts: HostFacts) -> str:
        verb = f"apply v{version} --yes" if self._is_first(version, facts) else "node"
        return f"{verb} {_LEFT_OUT} {ignored(self.goal, Node(), *_DNS)}"

    def _is_first(self, version: str, facts: HostFacts) -> bool:
        """Whether the cluster comes to this version by this host: no other serves it, nor will before this one."""
        have = facts[NODE]
        if have.serves == version and have.control:  # and it did so to the end
            return False
        names = [host.name for host in control_planes(self.goal)]
        others = {name: known(facts, name) for name in names if name != self.host.name}
        before = names[: names.index(self.host.name)]
        return not any(
            node.joined and (node.serves == version or name in before) for name, node in others.items() if node
        )

    def _text(self, kubeadm: str, version: str) -> str:
        return f"""umask 077
{self._functions()}
if [ -d {_KEPT} ]; then
  # An earlier run was cut off. kubeadm takes each pod's text away before it brings the new one.
  for name in {" ".join(STATIC)}; do [ -e {_MANIFESTS}/$name.yaml ] || {{ bring $name; lost=1; }}; done
  [ -z "$lost" ] || is_well "" || :
else
  mkdir -p {STATE}; rm -rf {_KEPT}.new; cp -a {_MANIFESTS} {_KEPT}.new && sync && mv -T {_KEPT}.new {_KEPT} || exit 1
fi
rm -f {STATE}/control
certificate || back "its certificate could not be made"
kubeadm init phase upload-config all --config {CONFIG} || back "the cluster did not take its settings"
kubeadm upgrade {kubeadm} || back "kubeadm could not bring it"
is_well {version} || back "it was not well with {version} within {_WAIT} s: $why"
# kubeadm's own copies, one of all of etcd's data each time.
rm -rf /etc/kubernetes/tmp/kubeadm-*
printf '%s\\n' {control_settings(self.goal)} > {STATE}/control.new && sync {STATE}/control.new &&
  mv -T {STATE}/control.new {STATE}/control && rm -rf {_KEPT}
"""

    def _functions(self) -> str:
        server = f"https://{_at(self.host)}:{API_PORT}"
        return f"""look() {{ curl -sk -m 5 "$@" 2>/dev/null; }}
bring() {{
  cp -a {_KEPT}/$1.yaml /etc/kubernetes/.bundle-$1 && mv -T /etc/kubernetes/.bundle-$1 {_MANIFESTS}/$1.yaml
}}
# Its own API server, of that version; its own member of etcd, which needs the others for that answer; the controllers.
is_well() {{
  n=0; while n=$((n+1)); do
    why=
    [ "$(look {server}/readyz)" = ok ] || why="its API server is not ready"
    look {server}/version | grep -q "\\"gitVersion\\": \\"v$1" || why="${{why:-its API server is of another version}}"
    look http://127.0.0.1:2381/health | grep -q '"health":"true"' || why="${{why:-its etcd is not healthy}}"
    [ "$(look https://127.0.0.1:10257/healthz)" = ok ] || why="${{why:-its controller manager is not healthy}}"
    [ "$(look https://127.0.0.1:10259/healthz)" = ok ] || why="${{why:-its scheduler is not healthy}}"
    [ -n "$why" ] || return 0
    [ $n -lt {_WAIT // 2} ] || return 1
    sleep 2
  done
}}
etcd_of() {{ sed -n 's/.*image: .*etcd:v\\{{0,1\\}}\\([0-9]*\\.[0-9]*\\).*/\\1/p' $1.yaml 2>/dev/null; }}
# kubeadm did so already for what it saw fail.
back() {{
  for name in {" ".join(STATIC)}; do
    cmp -s {_KEPT}/$name.yaml {_MANIFESTS}/$name.yaml && continue
    # What a newer etcd has written an older one does not read.
    old=$(etcd_of {_KEPT}/$name); new=$(etcd_of {_MANIFESTS}/$name)
    [ "${{new:-$old}}" != "$old" ] || bring $name
  done
  echo "{self.host.name}: the control plane was put back to what it had: $1." >&2
  if is_well ""; then rm -rf {_KEPT}; else echo "It is not well with that either: $why." >&2; fi
  echo "The hosts behind it are as they were. \\`journalctl -u kubelet\\` and /var/log/pods on it say more." >&2
  exit 1
}}
# Names and addresses of site.yaml may be others; the server itself takes the new one up within a minute.
certificate() {{
  mkdir -p /run/bundle && d=$(mktemp -d /run/bundle/certificate.XXXXXX) || return 1
  cp {PKI}/ca.crt {PKI}/ca.key "$d" &&
    sed "/^kind: ClusterConfiguration/a certificatesDir: $d" {CONFIG} > "$d/config" &&
    kubeadm init phase certs apiserver --config "$d/config" &&
    cp "$d/apiserver.key" {PKI}/.apiserver.key && mv -T {PKI}/.apiserver.key {PKI}/apiserver.key &&
    cp "$d/apiserver.crt" {PKI}/.apiserver.crt && mv -T {PKI}/.apiserver.crt {PKI}/apiserver.crt
  rc=$?; rm -rf "$d"; return $rc
}}"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


def _at(host: SiteHost) -> str:
    return f"[{host.address}]" if host.address.version == 6 else str(host.address)
