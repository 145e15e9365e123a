"""Clients: pip, uv, containerd, podman, CRI-O, docker and helm, pointed at the site by their own configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.base.logins import Logins
from bundler.components.base.names import HEADER
from bundler.components.base.sources import CA
from bundler.components.registry.endpoint import builds_host, registry_host, repositories_host
from bundler.components.registry.settings import RegistrySettings
from bundler.model.lock import Lock
from bundler.model.reference import site_host
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File, Resource
from bundler.views.clients import containerd_hosts, helm_repositories, pip_config, podman_registries, uv_config

PIP, UV = "/etc/pip.conf", "/etc/uv/uv.toml"
CONTAINERD, REGISTRIES = "/etc/containerd/certs.d", "/etc/containers/registries.conf.d/90-bundle.conf"
HELM = "/root/.config/helm/repositories.yaml"
_ENTRY = "/^- caFile: .*bundle.ca.crt$/,/^  url: /"  # ours there, for sed
# In the order of these names the last one counts: no short name is looked for on a registry that nobody named.
SHORT_NAMES = 'unqualified-search-registries = []\nshort-name-mode = "enforcing"\n'


def files(
    site: Site, lock: Lock, ca: str, mirrors: Sequence[SiteHost] = (), token: Secret | None = None
) -> tuple[File, ...]:
    """The files of all clients but Helm's. containerd asks the site hosts `mirrors` in their order, and the registry's
    own name last; it has its login in the same files."""
    ports = _ports(site)
    packages = f"https://{repositories_host(site)}"
    own = (f"{registry_host(site)}:{ports.port}", f"{builds_host(site)}:{ports.writable_port}")
    carried = registries(lock)
    redirected = "".join(f"\n{podman_registries(f'https://{own[0]}', host)}" for host in carried)
    tried = tuple(f"https://{server.name}.{site.domain}:{ports.port}" for server in mirrors)
    found = [
        File(path=PIP, content=HEADER + pip_config(packages, CA), keep=True),
        File(path=UV, content=HEADER + uv_config(packages), keep=True),
        File(path=REGISTRIES, content=f"{HEADER}{SHORT_NAMES}{redirected}"),
    ]
    basic = f"Basic {token.reveal()}" if token else ""
    for host in carried:
        namespace = site_host(host)
        hosts = containerd_hosts(f"https://{own[0]}", mirrors=tried, namespace=namespace, ca=CA, authorization=basic)
        found.append(_hosts_file(host, hosts, secret=bool(basic), keep=True))
    for name, login in zip(own, (basic, ""), strict=True):
        hosts = containerd_hosts(f"https://{name}", ca=CA, authorization=login)
        found.append(_hosts_file(name, hosts, secret=bool(login)))
        found += [File(path=f"/etc/{engine}/certs.d/{name}/ca.crt", content=ca) for engine in ("containers", "docker")]
    return tuple(found)


def _hosts_file(registry: str, hosts: str, *, secret: bool, keep: bool = False) -> File:
    text, path = HEADER + hosts, f"{CONTAINERD}/{registry}/hosts.toml"
    if secret:
        return File(path=path, content=Secret(text), mode=0o600, keep=keep)
    return File(path=path, content=text, keep=keep)


def _ports(site: Site) -> RegistrySettings:
    return site.settings_of("registry", RegistrySettings)


def mirrors_of(site: Site, host: SiteHost) -> tuple[SiteHost, ...]:
    """The site hosts in the order that one host asks them: itself first, and the hosts spread over all of them."""
    servers = site.with_role(SITE_ROLE)
    if len(servers) == 1:
        return ()
    first = servers.index(host) if host in servers else sum(host.address.packed) % len(servers)
    return (*servers[first:], *servers[:first])


def registries(lock: Lock) -> tuple[str, ...]:
    """The registry hosts that images of the release are from."""
    return tuple(sorted({image.reference.registry for image in lock.images}))


def resources(
    site: Site, lock: Lock, ca: str, mirrors: Sequence[SiteHost], token: Secret | None = None
) -> tuple[Resource, ...]:
    """`token` is what the hosts show the registry, if it asks."""
    made = files(site, lock, ca, mirrors, token)
    charts = Helm(base=f"https://{repositories_host(site)}")
    servers = (registry_host(site), *(f"{server.name}.{site.domain}" for server in site.with_role(SITE_ROLE)))
    logins = Logins(registries=tuple(f"{server}:{_ports(site).port}" for server in servers), token=token)
    return (*made, Leftovers(paths=frozenset(file.path for file in made)), charts, logins)


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """containerd is not sent to the site for a registry of an earlier release: its images are not there any more."""

    paths: frozenset[str]

    @property
    def fact(self) -> Ask[tuple[str, ...]]:
        first = HEADER.rstrip("\n")
        script = f"""for f in {CONTAINERD}/*/hosts.toml; do
  l=; if [ -f "$f" ]; then IFS= read -r l < "$f"; fi; if [ "$l" = '{first}' ]; then printf '%s\\n' "$f"; fi
done"""
        return Ask(name="registries of ours", script=script, reading=lambda said: tuple(said.splitlines()), bare=())

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        for path in facts[self.fact]:
            if path not in self.paths:
                yield Remove(path=path, reason="the release has no image of this registry")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()  # each file goes by itself


@dataclass(frozen=True, kw_only=True)
class Helm:
    """Root's Helm knows the site's charts; other repositories in its file stay, and so does their order."""

    base: str

    @property
    def entry(self) -> str:
        return helm_repositories(self.base, CA)

    @property
    def fact(self) -> Ask[bool]:
        lines = self.entry.splitlines()
        script = f"grep -sxF -A{len(lines) - 1} -e '{lines[0]}' {HELM} || :"
        return Ask(name="helm's repositories", script=script, reading=lambda said: self.entry in said, bare=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if facts[self.fact]:
            return
        # An entry of ours with other text goes first: it begins with its caFile and has three lines.
        text = f"""umask 077; f={HELM}; new=$f.bundle-new; mkdir -p "${{f%/*}}" || exit 1
[ -s "$f" ] || printf 'apiVersion: ""\\ngenerated: "0001-01-01T00:00:00Z"\\nrepositories:\\n' > "$f"
{{ sed '/^repositories:/,$d' "$f"; printf 'repositories:\\n%s\\n' '{self.entry.rstrip()}'
sed '1,/^repositories:/d' "$f" | sed '{_ENTRY}d'; }} > "$new" && mv -T "$new" "$f"
"""
        yield Run(name=f"name the site's charts in {HELM}", text=text, reason="helm does not know the site's charts")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[self.fact]:
            text = f"sed -i '{_ENTRY}d' {HELM}\n"
            yield Run(name=f"take the site's charts out of {HELM}", text=text, reason="it is ours")
