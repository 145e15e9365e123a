"""The cluster's own authorities and keys, in the site's secrets: every control plane has the same, whenever it comes,
and a cluster can be put together again from a snapshot."""

import base64
import os
from datetime import timedelta

from bundler.components.kubernetes.settings import API_PORT, settings_of
from bundler.model.secret import Secret
from bundler.model.site import Address, SiteHost
from bundler.secrets.ca import Leaf, ensure_leaf, ensure_root
from bundler.secrets.certificates import Pair, new_client, new_private_key, public_half
from bundler.steps.render import render
from bundler.steps.resources import File
from bundler.steps.step import Goal

FOLDER = "/etc/kubernetes/pki"
CONTROL_PLANE, WORKER, API_VIP = "control-plane", "worker", "api"
NODES = (CONTROL_PLANE, WORKER)  # the roles of the cluster's hosts
KUBE_CA = "kubernetes.ca"
# Each authority by its files below FOLDER, as kubeadm calls them.
_ROOTS = {"ca": KUBE_CA, "etcd/ca": "kubernetes.etcd-ca", "front-proxy-ca": "kubernetes.front-proxy-ca"}
_JOINING = "system:bootstrappers:kubeadm:default-node-token"  # whom kubeadm's own rules let join
_ADMINISTERING = "kubeadm:cluster-admins"  # whom kubeadm, since 1.29, makes administrators
_JOIN_LIFE = timedelta(days=1)
RENEW_BEFORE = timedelta(days=45)  # the end of a certificate


def control_planes(goal: Goal) -> tuple[SiteHost, ...]:
    return goal.site.with_role(CONTROL_PLANE)


def endpoint(goal: Goal) -> str:
    """ADDRESS:PORT of the API for every host: the virtual address, or the only control plane's own."""
    vip = goal.site.vips.get(API_VIP)
    address, port = (vip, settings_of(goal).entry_port) if vip else (control_planes(goal)[0].address, API_PORT)
    return at(address, port)


def at(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def root(goal: Goal, name: str) -> Pair:
    return goal.once(name, lambda: ensure_root(goal.vault, name, f"{goal.site.name} {name}", goal.now))


def shared_files(goal: Goal) -> tuple[File, ...]:
    """What all control planes have in common: authorities, and the keys of service accounts."""
    found = []
    for file, name in _ROOTS.items():
        pair = root(goal, name)
        found += [
            File(path=f"{FOLDER}/{file}.crt", content=pair.certificate),
            File(path=f"{FOLDER}/{file}.key", content=pair.key, mode=0o600),
        ]
    private = goal.vault.made("kubernetes.service-accounts", new_private_key)
    found += [
        File(path=f"{FOLDER}/sa.key", content=private, mode=0o600),
        File(path=f"{FOLDER}/sa.pub", content=public_half(private)),
    ]
    return tuple(found)


def kubelet_leaf(goal: Goal, host: SiteHost) -> Leaf:
    """What a kubelet shows to those who ask it: the API server, and metrics-server."""
    root(goal, KUBE_CA)
    names, name = [host.name, f"{host.name}.{goal.site.domain}"], f"kubelet.{host.name}"
    addresses = [host.address]
    return ensure_leaf(goal.vault, name, names, addresses, goal.now, root=KUBE_CA, renew_before=RENEW_BEFORE)


def joining(goal: Goal) -> Secret:
    """A kubeconfig by which a host may join for a day. It is made for each run and kept nowhere."""

    return goal.once("kubernetes/joining", lambda: _kubeconfig(goal, "bundle-join", _JOINING))


def administering(goal: Goal) -> Secret:
    """The same for who may do everything: a host's pods are moved by it, from that host."""
    return goal.once("kubernetes/administering", lambda: _kubeconfig(goal, "bundle-admin", _ADMINISTERING))


def _kubeconfig(goal: Goal, user: str, group: str) -> Secret:
    authority = root(goal, KUBE_CA)
    pair = new_client(authority, user, (group,), now=goal.now, life=_JOIN_LIFE)
    text = render(
        __package__,
        "kubeconfig.j2",
        cluster=goal.site.name,
        server=f"https://{endpoint(goal)}",
        ca=_encoded(authority.certificate),
        certificate=_encoded(pair.certificate),
        key=_encoded(pair.key.reveal()),
    )
    return Secret(text)


def encryption_key(goal: Goal) -> Secret:
    """Of 32 bytes, base64: what the API server encrypts Secrets with before etcd has them."""
    return goal.vault.made("kubernetes.encryption", lambda: _encoded_bytes(os.urandom(32)))


def _encoded(text: str) -> str:
    return _encoded_bytes(text.encode())


def _encoded_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()
