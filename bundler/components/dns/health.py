"""Whether the name servers do what they are for: say the site's names as declared, and at once what is not there."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bundler.components.dns.settings import DnsSettings
from bundler.components.dns.zones import clashes, zones_of
from bundler.components.registry.health import Resources, drift, step_facts
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.facts import Fact, Facts, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.probe import probe
from bundler.steps.step import Check, Finding, Goal, Remedy

UNIT = "bundle-dns.service"
STEP = "dns"
_UNKNOWN = "bundle-health-check.invalid"  # never a name (RFC 2606)
_NO_NAME = 3  # NXDOMAIN
_SLOW = 200  # milliseconds for an answer from memory


def settings_of(goal: Goal) -> DnsSettings:
    return goal.site.settings_of(STEP, DnsSettings)


def _questions(goal: Goal) -> tuple[str, ...]:
    known = f"{goal.site.hosts[0].name}.{goal.site.domain}/{'A' if goal.site.hosts[0].address.version == 4 else 'AAAA'}"
    return (f"{goal.site.domain}/SOA", known, f"{_UNKNOWN}/A")


def _answers(goal: Goal, host: SiteHost) -> Fact[Any]:
    return probe("what the name server answers", __package__, "probe.py", [str(host.address), "53", *_questions(goal)])


def dns_check(resources: Resources) -> Check:
    """The files and the unit first; then what it answers."""

    def asks(goal: Goal, host: SiteHost) -> Iterable[Fact[Any]]:
        return (*step_facts(resources(goal, host)), _answers(goal, host))

    def judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterable[Note]:
        return tuple(drift(STEP, resources(goal, host), facts)) or tuple(_judge(goal, host, facts))

    return replace(per_host("dns", asks, judge), roles=(SITE_ROLE,))


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    answers = facts[_answers(goal, host)]
    fix = f"journalctl -u {UNIT} says why; `bundle restart dns` may help."
    again = Remedy(restart=UNIT, steps=(STEP,))
    soa, name, unknown = (answers.get(question, {"failure": "not asked"}) for question in _questions(goal))
    failed = sorted({answer["failure"] for answer in (soa, name, unknown) if "failure" in answer})
    if failed:
        yield Note(f"no answer: {', '.join(failed)}", fix, remedy=again)
        return
    if soa["rcode"] or soa["serial"] != _serial(goal):
        yield Note(f"it answers for {goal.site.domain} with other names than site.yaml has", fix, remedy=again)
    elif name["rcode"] or not name["answers"]:
        yield Note(f"it does not know {_questions(goal)[1].partition('/')[0]}", fix, remedy=again)
    elif unknown["rcode"] != _NO_NAME and "." not in settings_of(goal).forward:
        yield Note(f"it answers code {unknown['rcode']} for a name that nobody has, not NXDOMAIN", fix, remedy=again)
    slowest = max(answer["ms"] for answer in (soa, name))
    if slowest > _SLOW:
        yield Note(f"an answer took {slowest:.0f} ms", "See what keeps the host busy.", warning=True)


def _serial(goal: Goal) -> int:
    return goal.once("dns/serial", lambda: zones_of(goal.site, settings_of(goal))[0].serial)


def _judge_names(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    settings = settings_of(goal)
    for name, givers in clashes(goal.site, settings).items():
        yield Finding(
            host="",
            check=NAMES.name,
            found=f"the name {name}.{goal.site.domain} is given by {' and by '.join(givers)}",
            fix="Rename one of them in site.yaml.",
        )
    own = {host.address for host in goal.site.with_role(SITE_ROLE)}
    for zone, addresses in settings.forward.items():
        if zone == goal.site.domain:
            yield Finding(
                host="",
                check=NAMES.name,
                found=f"components.dns.forward has {zone}, which is the site's own domain",
                fix="Take it out of components.dns.forward, or choose another domain.",
            )
        if looped := sorted(map(str, own.intersection(addresses))):
            yield Finding(
                host="",
                check=NAMES.name,
                found=f"components.dns.forward sends {zone} to {', '.join(looped)}, where it comes from: a loop",
                fix="Name the servers that answer for the zone.",
            )


NAMES = Check(name="names of the site", asks=lambda goal, host: (), judge=_judge_names, roles=(SITE_ROLE,))
