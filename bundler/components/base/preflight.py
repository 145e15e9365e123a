"""Before the first change: what the kernel lacks, what the release lacks, and what would point outside again."""

from collections.abc import Iterator, Mapping, Sequence

from bundler.components.base.kernel import (
    BRIDGE,
    MODULES,
    Live,
    Sysctl,
    loadable_fact,
    modules_fact,
    sysctls,
    sysctls_fact,
)
from bundler.components.base.names import RESOLV, SYSTEM
from bundler.components.base.settings import LEAVE, settings_of
from bundler.components.base.sources import archives_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Goal

_LEAVE = f"or name it in site.yaml, `components: {{base: {{sysctls: {{KEY: {LEAVE}}}}}}}`"


def _pairs(said: str) -> tuple[tuple[str, str], ...]:
    return tuple((where, what) for where, _, what in (line.partition("\t") for line in said.splitlines()))


# Places that make programs use a proxy: each line is a place and what stands there, passwords left out.
PROXIES: Ask[tuple[tuple[str, str], ...]] = Ask(
    name="proxies",
    script=r"""p() { sed 's#://[^@/]*@#://***@#' | head -n 4 | sed "s#^#$1	#"; }
proxy='^[^#]*(https?|ftp|all)_proxy[^a-z]'
for f in /etc/environment /etc/profile /etc/profile.d/*.sh /etc/default/docker /etc/systemd/system.conf \
  /etc/systemd/system.conf.d/*.conf /etc/systemd/system/*.service.d/*.conf /root/.bashrc /root/.profile; do
  if [ -f "$f" ]; then grep -aiE "$proxy" -- "$f" | p "$f"; fi
done
for f in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
  if [ -f "$f" ]; then grep -aiE '^[^/#]*(::|[[:space:]{])proxy(-auto-detect)?[[:space:]]' -- "$f" \
    | grep -vi '"DIRECT"' | p "$f"; fi
done
:""",
    reading=_pairs,
    bare=(),
)
# Programs that write /etc/resolv.conf or /etc/hosts by themselves.
WRITERS: Ask[tuple[str, ...]] = Ask(
    name="programs that write names",
    script="""for u in NetworkManager dhcpcd resolvconf connman; do
  if systemctl is-active -q -- $u.service 2>/dev/null; then echo $u; fi
done
if pgrep -x dhclient >/dev/null 2>&1; then echo dhclient; fi
if grep -qsE '^ *manage_etc_hosts: *(true|localhost|template)' /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg
then echo cloud-init; fi""",
    reading=lambda said: tuple(said.split()),
    bare=(),
)
_WRITER_FIX = {
    "NetworkManager": f"Put `dns=none` below [main] in /etc/NetworkManager/conf.d/90-dns.conf: it writes {RESOLV}.",
    "dhcpcd": f"Put `nohook resolv.conf` into /etc/dhcpcd.conf: it writes {RESOLV}.",
    "dhclient": f"Give the host a fixed address, or put `make_resolv_conf() {{ :; }}` into "
    f"/etc/dhcp/dhclient-enter-hooks.d/nodns: it writes {RESOLV}.",
    "resolvconf": f"Remove the package resolvconf: it writes {RESOLV}.",
    "connman": f"Stop connman, or start it with --nodnsproxy: it writes {RESOLV}.",
    "cloud-init": "Set `manage_etc_hosts: false` in /etc/cloud/cloud.cfg.d: it writes /etc/hosts at every boot.",
}


def archives_by_release(goal: Goal) -> Mapping[str, tuple[str, ...]]:
    return goal.once("base/archives by release", lambda: archives_of(goal.lock))


def wanted_sysctls(goal: Goal) -> tuple[Sysctl, ...]:
    return goal.once("base/sysctls", lambda: sysctls(settings_of(goal.site)))


def live_sysctls(goal: Goal) -> Ask[Mapping[str, Live]]:
    return goal.once("base/live sysctls", lambda: sysctls_fact(wanted_sysctls(goal)))


def _release(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    archives = archives_by_release(goal)
    release = facts[SYSTEM].release
    if release not in archives:
        known = ", ".join(sorted(archives)) or "no release at all"
        fix = f"Carry a bundle with packages for {release}, or install the host with {known}."
        yield Note(f"it runs {release}, and the bundle has packages for {known}", fix)


def _kernel(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    had, loadable = facts[modules_fact()], facts[loadable_fact()]
    lacking = {module.name for module in MODULES} - had - loadable
    for module in MODULES:
        if module.name in lacking:
            fix = "Install the modules of the running kernel (Ubuntu: linux-modules-extra), or start one with them."
            yield Note(f"the kernel has no module {module.name}: {module.why}", fix)
    yield from _settings(wanted_sysctls(goal), facts[live_sysctls(goal)], late="br_netfilter" not in lacking)


def _settings(wanted: Sequence[Sysctl], live: Mapping[str, Live], *, late: bool) -> Iterator[Note]:
    """What is needed is found by itself; all that would only be better is one warning. `late`: the bridge's settings
    come with their module."""
    lacking = [each for each in wanted if each.key not in live and not (late and each.key.startswith(BRIDGE))]
    fixed = [each for each in wanted if (have := live.get(each.key)) and not have.writable and have.value != each.value]
    for some, what, fix in (
        (lacking, "the kernel has no", "Start a kernel that has it"),
        (fixed, "this host, a container, cannot set", "Set it on the machine around this host"),
    ):
        for each in some:
            if each.needed:
                yield Note(f"{what} {each.key} = {each.value}: {each.why}", f"{fix}.")
        if keys := [each.key for each in some if not each.needed]:
            yield Note(f"{what} {', '.join(keys)}", f"{fix}, {_LEAVE}.", warning=True)


def _outside(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    for where, what in facts[PROXIES]:
        fix = f"Take it out of {where}: nothing on the site is reached through a proxy."
        yield Note(f"{where} sets a proxy: {what[:120]}", fix, goal.site.domain in what)
    for writer in facts[WRITERS]:
        yield Note(f"{writer} runs, and will undo what the site writes", _WRITER_FIX[writer], True)


RELEASE = per_host("base: the release's packages", lambda goal, host: (SYSTEM,), _release)
KERNEL = per_host("base: kernel", lambda goal, host: (modules_fact(), loadable_fact(), live_sysctls(goal)), _kernel)
OUTSIDE = per_host("base: proxies and writers", lambda goal, host: (PROXIES, WRITERS), _outside)
