"""The kernel: modules, settings and limits that a platform of containers, storage and training needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.base.names import HEADER
from bundler.components.base.settings import LEAVE, BaseSettings
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File

# Last of all names in these folders, because the last setting counts.
SYSCTL_PATH = "/etc/sysctl.d/99-zz-bundle.conf"
MODULES_PATH = "/etc/modules-load.d/bundle.conf"
MANAGER_PATH = "/etc/systemd/system.conf.d/90-bundle.conf"
LIMITS_PATH = "/etc/security/limits.d/90-bundle.conf"
BRIDGE = "net.bridge."  # the settings that the module br_netfilter brings
SOFT, HARD = 65536, 1048576


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """`sign` is a path that is there when the kernel has it, loaded or built in."""

    name: str
    why: str
    sign: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """`needed`: the platform does not work without it; the rest makes it faster or larger."""

    key: str
    value: str
    why: str
    needed: bool = False

    @property
    def path(self) -> str:
        return f"/proc/sys/{self.key.replace('.', '/')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A setting's value now; `writable` is false where a container may only read it."""

    value: str
    writable: bool


MODULES = (
    Module(name="overlay", why="Container engines lay images' layers over each other.", sign="/sys/module/overlay"),
    Module(
        name="br_netfilter",
        why="Traffic between pods of one host passes the rules of Services.",
        sign="/proc/sys/net/bridge/bridge-nf-call-iptables",
    ),
    Module(
        name="nf_conntrack",
        why="Services are address translation, which remembers connections.",
        sign="/proc/sys/net/netfilter/nf_conntrack_max",
    ),
)
SYSCTLS = (
    Sysctl(key="net.ipv4.ip_forward", value="1", why="Pods are reached through their hosts.", needed=True),
    Sysctl(
        key="net.bridge.bridge-nf-call-iptables",
        value="1",
        why="A Service's rules also hold between pods of one host.",
        needed=True,
    ),
    Sysctl(key="net.bridge.bridge-nf-call-ip6tables", value="1", why="The same for IPv6.", needed=True),
    Sysctl(key="vm.overcommit_memory", value="1", why="Redis' snapshots fork a large process; kubelet wants it too."),
    Sysctl(key="vm.swappiness", value="10", why="Databases keep their caches in memory while files are read."),
    Sysctl(key="vm.max_map_count", value="1048576", why="Data loaders, Ceph and search engines map many files."),
    Sysctl(key="fs.inotify.max_user_instances", value="8192", why="kubelet and log agents hold one a container."),
    Sysctl(key="fs.inotify.max_user_watches", value="1048576", why="They watch every log and volume of a host."),
    Sysctl(key="fs.aio-max-nr", value="1048576", why="Each Ceph OSD and MariaDB take thousands of requests."),
    Sysctl(key="kernel.panic", value="10", why="A host whose kernel gave up comes back by itself."),
    Sysctl(key="net.core.somaxconn", value="16384", why="Front ends take bursts of connections."),
    Sysctl(key="net.ipv4.tcp_max_syn_backlog", value="16384", why="Likewise, before they are accepted."),
    Sysctl(key="net.core.rmem_max", value="67108864", why="One stream of storage traffic fills a fast link."),
    Sysctl(key="net.core.wmem_max", value="67108864", why="Likewise, sending."),
    Sysctl(key="net.ipv4.tcp_rmem", value="4096 131072 67108864", why="Likewise; the kernel chooses in between."),
    Sysctl(key="net.ipv4.tcp_wmem", value="4096 65536 67108864", why="Likewise, sending."),
    Sysctl(key="net.core.netdev_max_backlog", value="16384", why="Packets of fast cards wait instead of being lost."),
    Sysctl(key="net.ipv4.neigh.default.gc_thresh1", value="4096", why="A thousand hosts and their pods: no thrashing."),
    Sysctl(key="net.ipv4.neigh.default.gc_thresh2", value="8192", why="Likewise."),
    Sysctl(key="net.ipv4.neigh.default.gc_thresh3", value="16384", why="Likewise: above it neighbours are refused."),
)


def sysctls(settings: BaseSettings) -> tuple[Sysctl, ...]:
    """Ours, replaced and added to by the site's own."""
    own = dict(settings.sysctls)
    why = "As site.yaml says."
    ours = [Sysctl(key=each.key, value=own.pop(each.key), why=why) if each.key in own else each for each in SYSCTLS]
    added = (Sysctl(key=key, value=value, why=why) for key, value in sorted(own.items()))
    return tuple(each for each in (*ours, *added) if each.value != LEAVE)


def sysctl_text(wanted: Sequence[Sysctl]) -> str:
    # A leading dash: a key that the kernel lacks fails nothing at boot; before that, preflight names it.
    return HEADER + "".join(f"# {each.why}\n-{each.key} = {each.value}\n" for each in wanted)


def modules_text() -> str:
    return HEADER + "".join(f"# {module.why}\n{module.name}\n" for module in MODULES)


def manager_text(host: SiteHost) -> str:
    """systemd-system.conf(5). The soft limit is what select(2) and loops over all descriptors still bear."""
    locked = "# RDMA pins the memory that it sends from.\nDefaultLimitMEMLOCK=infinity\n" if host.has("gpu") else ""
    return f"{HEADER}[Manager]\nDefaultLimitNOFILE={SOFT}:{HARD}\n{locked}"


def limits_text(host: SiteHost) -> str:
    """limits.conf(5): the same for whoever logs in; `*` does not mean root."""
    limits = [("soft", "nofile", str(SOFT)), ("hard", "nofile", str(HARD))]
    if host.has("gpu"):
        limits.append(("-", "memlock", "unlimited"))
    return HEADER + "".join(f"{who} {kind} {item} {value}\n" for who in ("*", "root") for kind, item, value in limits)


def modules_fact() -> Ask[frozenset[str]]:
    """The modules that the kernel has: loaded, or built in."""
    script = "\n".join(f"if [ -e {module.sign} ]; then echo {module.name}; fi" for module in MODULES)
    return Ask(name="kernel modules", script=script, reading=lambda said: frozenset(said.split()), bare=frozenset())


def loadable_fact() -> Ask[frozenset[str]]:
    """The modules that could be loaded; asked before the first change."""
    names = " ".join(module.name for module in MODULES)
    script = f"for m in {names}; do if modprobe -n -q -- $m 2>/dev/null; then echo $m; fi; done"
    return Ask(name="kernel modules on disk", script=script, reading=lambda said: frozenset(said.split()))


def sysctls_fact(wanted: Sequence[Sysctl]) -> Ask[Mapping[str, Live]]:
    """The live value of each setting that the kernel has."""
    script = "\n".join(
        [
            "s() { if [ -e $2 ]; then v=$(cat $2) && printf '%s %s %s\\n' $1 $(stat -c %a $2) \"$v\"; fi; }",
            *(f"s {each.key} {each.path}" for each in wanted),
            ":",
        ]
    )
    return Ask(name="kernel settings", script=script, reading=_live, bare={})


def _live(said: str) -> Mapping[str, Live]:
    found = {}
    for line in said.splitlines():
        key, mode, value = line.split(" ", 2)
        found[key] = Live(value=" ".join(value.split()), writable=bool(int(mode, 8) & 0o200))
    return found


def manager_fact() -> Ask[str]:
    """The limits that systemd gives to what it starts."""
    script = "systemctl show -p DefaultLimitNOFILESoft -p DefaultLimitNOFILE -p DefaultLimitMEMLOCK"
    return Ask(name="systemd's limits", script=script, reading=str.strip, bare="")


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Each module is in the kernel now and after the next boot."""

    def asks(self) -> tuple[Fact[Any], ...]:
        return (modules_fact(), *self._file().asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from self._file().wanted(facts)
        missing = [module.name for module in MODULES if module.name not in facts[modules_fact()]]
        if missing:
            text = f"modprobe -a -- {' '.join(missing)}\n"
            yield Run(name=f"load {' '.join(missing)}", text=text, reason="the running kernel has not loaded it")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._file().unwanted(facts, purge=purge)  # what is loaded may be in use

    def _file(self) -> File:
        return File(path=MODULES_PATH, content=modules_text())


@dataclass(frozen=True, kw_only=True)
class Sysctls:
    """Each setting has its value now and after the next boot; what a container may only read stays as it is."""

    wants: tuple[Sysctl, ...]
    fact: Ask[Mapping[str, Live]]
    file: File

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact, *self.file.asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from self.file.wanted(facts)
        live = facts[self.fact]
        other = [each for each in self.wants if _to_set(each, live.get(each.key))]
        if other:
            text = "".join(f"printf '%s\\n' '{each.value}' > {each.path} || exit 1\n" for each in other)
            said = {key: have.value for key, have in live.items()}
            shown = ", ".join(f"{each.key} is {said.get(each.key, 'not there')}" for each in other)
            yield Run(name=f"set {' '.join(each.key for each in other)}", text=text, reason=shown)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self.file.unwanted(facts, purge=purge)  # the old values come with the next boot


def _to_set(wanted: Sysctl, have: Live | None) -> bool:
    if have is None:  # what comes with a module is there once the module is
        return wanted.key.startswith(BRIDGE)
    return have.writable and have.value != wanted.value


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What systemd gives to what it starts; it reads its file again without a restart of anything."""

    file: File

    def asks(self) -> tuple[Fact[Any], ...]:
        return (manager_fact(), *self.file.asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        changed = list(self.file.wanted(facts))
        yield from changed
        lines = facts[manager_fact()].splitlines()
        right = {f"DefaultLimitNOFILESoft={SOFT}", f"DefaultLimitNOFILE={HARD}"}
        if "MEMLOCK" in str(self.file.content):
            right.add("DefaultLimitMEMLOCK=infinity")
        if changed or not right <= set(lines):
            yield Run(name="systemctl daemon-reload", text="systemctl daemon-reload\n", reason="other limits hold now")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self.file.unwanted(facts, purge=purge)
