"""Whether a host still is what base made of it: its time, its trust, its names, its sources, and nothing outside."""

from collections.abc import Iterator
from dataclasses import dataclass

from bundler.components.base import clock
from bundler.components.base.clients import PIP
from bundler.components.base.names import RESOLV, resolv_text
from bundler.components.base.preflight import PROXIES
from bundler.components.base.settings import settings_of
from bundler.components.base.sources import CA, FOUND
from bundler.components.base.trust import STORE
from bundler.components.registry.endpoint import registry_host, repositories_host
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, FileFact, HostFacts, UnitFact
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Goal, Remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What chronyd follows: its stratum, 0 for nothing; its leap status; and its sources by address."""

    stratum: int = 0
    leap: str = ""
    sources: tuple[str, ...] = ()


def _tracking(said: str) -> Tracking:
    first, *rest = said.splitlines()
    fields = first.split(",")
    sources = tuple(line.split(",")[2] for line in rest if line.count(",") > 2)
    if len(fields) < 14:
        raise ValueError(first[:80])
    return Tracking(stratum=int(fields[2]), leap=fields[13], sources=sources)


TRACKING = Ask(
    name="what chrony follows",
    script="chronyc -c -n tracking && chronyc -c -n sources",
    reading=_tracking,
    bare=Tracking(),
)
_INDEX: Ask[tuple[tuple[str, ...], ...]] = Ask(
    name="pip's indexes",
    # In the order in which pip reads them.
    script="""for f in /etc/xdg/pip/pip.conf /etc/pip.conf /root/.pip/pip.conf /root/.config/pip/pip.conf; do
  if [ -f "$f" ]; then grep -aE '^ *(extra-)?index-url *=|^ *find-links *=' -- "$f" | sed "s#^#$f	#"; fi
done; :""",
    reading=lambda said: tuple(tuple(line.split("\t", 1)) for line in said.splitlines()),
    bare=(),
)


def _trusted(goal: Goal) -> Ask[str]:
    script = f"openssl verify -CAfile {STORE} {CA} 2>&1 | tail -n 1"
    return Ask(name="verdict on the site's CA", script=script, reading=str.strip, bare="")


def _resolved(goal: Goal) -> Ask[frozenset[str]]:
    names = f"{registry_host(goal.site)} {repositories_host(goal.site)}"
    script = f"for n in {names}; do if getent -s hosts:dns hosts $n >/dev/null; then echo $n; fi; done"
    return Ask(name="names by DNS", script=script, reading=lambda said: frozenset(said.split()), bare=frozenset())


def _reached(goal: Goal) -> Ask[str]:
    """Whether the archives can be read: apt's own way of it, without writing anything of the host's."""
    script = """s=$(mktemp -d) && trap 'rm -rf "$s"' EXIT && chmod 755 "$s" && mkdir -p "$s/lists/partial" || exit 1
apt-get -qq -o Dir::State::Lists="$s/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \\
  -o Acquire::Retries=0 -o Acquire::https::Timeout=10 -o APT::Update::Error-Mode=any \\
  -o APT::Sandbox::User=root update 2>&1 | tail -n 2"""
    return Ask(name="apt's reach", script=script, reading=str.strip, bare="")


def _time(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    again = Remedy(restart=clock.UNIT, steps=("base/time",))
    unit = facts[UnitFact(unit=clock.UNIT)]
    if unit.active != "active":
        yield Note(f"{clock.UNIT} is {unit.active} ({unit.sub})", f"journalctl -u {clock.UNIT}", remedy=again)
        return
    have = facts[TRACKING]
    if have.stratum == 0 or have.leap == "Not synchronised":
        fix = "chronyc sources -v; the site hosts answer on UDP port 123"
        yield Note("its clock follows nothing", fix)
    settings = settings_of(goal.site)
    known = {line.split()[1] for line in clock.sources(goal.site, host, settings)}
    strange = [source for source in have.sources if source not in known]
    if strange and all(part.replace(".", "").isdigit() or ":" in part for part in known):
        found = f"its clock follows {', '.join(strange)}, which site.yaml does not name"
        yield Note(found, _fix("base/time"), remedy=again)


def _trust(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    if (said := facts[_trusted(goal)]) != f"{CA}: OK":
        again = Remedy(steps=("base/sources", "base/archives", "base/trust"))
        yield Note(f"the site's CA is not trusted: {said or 'openssl says nothing'}", _fix("base"), remedy=again)


def _names(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    again = Remedy(steps=("base/names",))
    have = facts[FileFact(path=RESOLV)]
    if have is None or have.content != resolv_text(goal.site, host):
        yield Note(f"{RESOLV} is not what the site wrote", f"Find what writes it. {_fix('base/names')}", remedy=again)
    resolved = facts[_resolved(goal)]
    if unknown := {registry_host(goal.site), repositories_host(goal.site)} - resolved:
        yield Note(f"DNS does not know {', '.join(sorted(unknown))}", "bundle health: see the site hosts' dns")


def _sources(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    again = Remedy(steps=("base/sources", "base/archives"))
    for listed in facts[FOUND].listed:
        if elsewhere := listed.elsewhere(goal.site):
            yield Note(f"{listed.path} points apt to {elsewhere[0]}", _fix("base"), remedy=again)
    if said := facts[_reached(goal)]:
        yield Note(f"apt cannot read the site's archives: {said.splitlines()[-1][:200]}", "apt-get update")


def _outside(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    ours = f"https://{repositories_host(goal.site)}/"
    for where, line in facts[_INDEX]:
        url = line.partition("=")[2].strip()
        if not url.startswith((ours, "/")):
            again = Remedy(steps=("base/clients",)) if where == PIP else None
            yield Note(f"{where} points pip to {url[:120]}", f"Take it out of {where}.", remedy=again)
    for where, what in facts[PROXIES]:
        yield Note(f"{where} sets a proxy: {what[:120]}", f"Take it out of {where}.")


def _fix(step: str) -> str:
    return f"bundle apply --only {step}"


_EVERY = 60.0  # seconds: a hand changes these, no program that dies
HEALTH = (
    per_host("base: time", lambda goal, host: (UnitFact(unit=clock.UNIT), TRACKING), _time),
    per_host("base: trust", lambda goal, host: (_trusted(goal),), _trust, every=_EVERY),
    per_host("base: names", lambda goal, host: (FileFact(path=RESOLV), _resolved(goal)), _names, every=_EVERY),
    per_host("base: sources", lambda goal, host: (FOUND, _reached(goal)), _sources, every=_EVERY),
    per_host("base: nothing outside", lambda goal, host: (_INDEX, PROXIES), _outside, every=_EVERY),
)
