"""A cluster that is there already, in place of one of ours: the site's registry, where its hosts pull from, and charts.

The first site host speaks with it, by a kubeconfig that site.yaml names; what that says is one of the site's secrets.
Hosts of that cluster that we may log in to have the role `existing-node`: they get where they pull from, and no more.
"""

from collections.abc import Iterator, Sequence

from bundler.components.base.clients import CONTAINERD, Leftovers, registries
from bundler.components.base.names import HEADER
from bundler.components.base.sources import CA
from bundler.components.kubernetes.kubeconfig import Kubeconfig, check_kubeconfig, parse_kubeconfig
from bundler.components.kubernetes.pki import at, control_planes
from bundler.components.kubernetes.settings import Existing, KubernetesSettings, settings_of
from bundler.components.registry import hosts_token
from bundler.components.registry import settings_of as registry_settings
from bundler.components.registry.endpoint import site_ca
from bundler.errors import NotReadable
from bundler.model.document import Reader
from bundler.model.nodes import Node, Table
from bundler.model.reference import site_host
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.steps.resources import File, Resource
from bundler.steps.step import Given, Goal
from bundler.views.clients import containerd_hosts

KUBECONFIG = "/etc/bundle/existing.kubeconfig"
SECRET = "kubernetes.existing"  # noqa: S105


def existing(goal: Goal) -> Existing | None:
    return settings_of(goal).existing


def appliers(goal: Goal) -> tuple[SiteHost, ...]:
    """The hosts that charts may be applied on."""
    return goal.site.with_role(SITE_ROLE)[:1] if existing(goal) else control_planes(goal)


def gets_charts(goal: Goal, component: str) -> bool:
    """Whether the charts of a component of ours are applied: in a cluster that is there already, by choice alone."""
    found = existing(goal)
    return found is None or component in found.charts


def given(site: Site) -> Iterator[Given]:
    """The kubeconfig, which the site's secrets keep."""
    settings = site.settings_of("kubernetes", KubernetesSettings).existing
    if settings is not None:
        yield Given(secret=SECRET, path=settings.kubeconfig, check=check_kubeconfig)


def kubeconfig(goal: Goal) -> Secret:
    found = goal.vault.get(SECRET)
    if found is None:
        raise NotReadable(path="the kubeconfig of components.kubernetes.existing", why="the site's secrets have none")
    return found


def parsed(goal: Goal) -> Kubeconfig:
    return goal.once(SECRET, lambda: parse_kubeconfig(kubeconfig(goal).reveal(), file="the kubeconfig"))


def kubeconfig_file(goal: Goal) -> File:
    return File(path=KUBECONFIG, content=kubeconfig(goal), mode=0o600)


def redirected(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    """Where a host of that cluster pulls from: the site hosts by their addresses, for it may not know their names."""
    if existing(goal) is None:
        return ()
    files = goal.once("kubernetes/redirected", lambda: tuple(_files(goal)))
    return (*files, Leftovers(paths=frozenset(file.path for file in files)))


def registry_urls(goal: Goal) -> tuple[str, ...]:
    port = registry_settings(goal).port
    return tuple(f"https://{at(server.address, port)}" for server in goal.site.with_role(SITE_ROLE))


def _files(goal: Goal) -> Iterator[File]:
    yield File(path=CA, content=site_ca(goal).bundle)
    urls, token = registry_urls(goal), hosts_token(goal)
    basic = f"Basic {token.reveal()}" if token else ""
    for registry in registries(goal.lock):
        space = site_host(registry)
        hosts = containerd_hosts(urls[0], mirrors=urls, namespace=space, ca=CA, authorization=basic)
        text = HEADER + hosts
        path, mode = f"{CONTAINERD}/{registry}/hosts.toml", 0o600 if basic else 0o644
        yield File(path=path, content=Secret(text) if basic else text, mode=mode, keep=True)


def line_of(goal: Goal, *keys: str) -> str:
    """Where site.yaml says something, for a reader; empty where it does not."""
    node: Node | None = Reader(file="site.yaml").yaml(goal.text).table
    for key in keys:
        node = node.pairs.get(key) if isinstance(node, Table) else None
    return f"site.yaml:{node.line}" if node else ""
