"""Where the site's registries and repositories are, by name; and the certificates that they show."""

from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.secrets.ca import Ca, Leaf, ensure_ca, ensure_leaf, known_ca
from bundler.steps.step import Goal

REGISTRY, REPOSITORIES, BUILDS = "registry", "repo", "builds"  # names below the site's domain


def registry_host(site: Site) -> str:
    """The name that every site host answers to as the registry."""
    return f"{REGISTRY}.{site.domain}"


def repositories_host(site: Site) -> str:
    return f"{REPOSITORIES}.{site.domain}"


def builds_host(site: Site) -> str:
    """The name of the writable registry, which one host has: what was pushed to one of several would not be on the
    others."""
    return f"{BUILDS}.{site.domain}"


def keeps_builds(site: Site, host: SiteHost) -> bool:
    return host.name == site.with_role(SITE_ROLE)[0].name


def site_ca(goal: Goal) -> Ca:
    """The root that all hosts trust. Only an installer, who reaches them all, puts another one in its place."""
    if goal.recovery:
        return goal.once("ca", lambda: known_ca(goal.vault))
    return goal.once("ca", lambda: ensure_ca(goal.vault, goal.site.name, goal.now))


def leaf(goal: Goal, host: SiteHost, service: str, *names: str) -> Leaf:
    """The certificate of a service on a host: for its `names` below the domain, the host's own and its address."""

    def make() -> Leaf:
        site_ca(goal)
        domain = goal.site.domain
        served = [*(f"{name}.{domain}" for name in names), f"{host.name}.{domain}", host.name]
        return ensure_leaf(goal.vault, f"{service}.{host.name}", served, [host.address], goal.now)

    return goal.once(f"leaf/{service}/{host.name}", make)
