"""What preflight finds on machines, with its fix: every text in one place. docs/preflight.md has the same."""

from dataclasses import dataclass

from bundler.steps.step import Finding


@dataclass(frozen=True, slots=True)
class Kind:
    """`found` and `fix` are templates of str.format. A `warning` stops nothing."""

    name: str
    found: str
    fix: str
    warning: bool = False

    def at(self, host: str, **values: object) -> Finding:
        found, fix = self.found.format(**values), self.fix.format(**values)
        return Finding(host=host, check=self.name, found=found, fix=fix, warning=self.warning)


UNASKED = Kind(
    "unasked",
    "{fact} could not be found out: {why}",
    "Mend what the host says. What it lacks for an answer may be among the other findings.",
)

# The system
ARCHITECTURE = Kind(
    "architecture",
    "it is {architecture}, and the release is for {carried}",
    "Carry a release for it (`platforms:` of the profile), or take the host out of site.yaml.",
)
KERNEL = Kind(
    "kernel",
    "it runs kernel {kernel}; the platform needs {least} or newer",
    "Install the newest kernel of its own release (`linux-image-{architecture}`) and start it.",
)
SYSTEMD = Kind(
    "systemd",
    "process 1 is {init}, not systemd",
    "Install it with systemd, or start this machine by it: the site's services are its units.",
)
BOOTING = Kind(
    "systemd-state",
    "systemd is {state}",
    "Wait until `systemctl is-system-running` says running; `systemctl list-jobs` shows what it waits for.",
)
DEGRADED = Kind(
    "failed-units",
    "units have failed: {units}",
    "See `systemctl status {first}`; mend it, or forget it by `systemctl reset-failed`.",
    warning=True,
)
PYTHON = Kind(
    "python",
    "its python3 is {version}; on site hosts the release's tool runs with {carried}",
    "Install python {carried} as python3, or carry a release whose `bootstrap:` is for the one it has.",
)
PROGRAMS = Kind(
    "programs",
    "it has no {programs}",
    "Install what brings them: {packages}.",
)
CGROUP = Kind(
    "cgroup-v1",
    "it has cgroup v1, which new releases of Kubernetes and systemd give up",
    "Start its kernel with `systemd.unified_cgroup_hierarchy=1`, or set `failCgroupV1: false` for kubelet.",
    warning=True,
)
MEMORY = Kind(
    "memory",
    "it has {memory} of memory; {role} needs {least}",
    "Give it more memory, or take the role away from it.",
)
FILES = Kind(
    "open-files",
    "its kernel lets a process open {limit} files; services ask for {least}",
    "`sysctl -w fs.nr_open={least}`, on the machine that this host is a container of if it is one.",
)
REBOOT = Kind(
    "reboot",
    "it waits for a reboot (/run/reboot-required)",
    "Reboot it now, so that it does not happen first when everything runs.",
    warning=True,
)

# Names
SAME_MACHINE = Kind(
    "same-machine",
    "{names} are one machine: the same boot answers at {addresses}",
    "Correct the `address:` of those that are elsewhere, or leave one of them.",
)
ADDRESS = Kind(
    "address",
    "the machine that answers does not have the address {address}: it has {has}",
    "Correct `address:` (no NAT, no floating address: other hosts reach it there), or the route that leads elsewhere.",
)
HOSTNAME_TWICE = Kind(
    "hostname-twice",
    "{names} all call themselves {hostname}",
    "`hostnamectl set-hostname NAME` on each, with its name in site.yaml.",
)
HOSTNAME = Kind(
    "hostname",
    "it calls itself {hostname}; site.yaml calls it {name}",
    "`hostnamectl set-hostname {name}`: logs and Kubernetes go by what it calls itself.",
    warning=True,
)
MACHINE_ID_TWICE = Kind(
    "machine-id-twice",
    "{names} have the same machine-id, {id}: one was cloned from the other",
    "On all but one: `rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup`, and reboot.",
)
MACHINE_ID = Kind(
    "machine-id",
    "/etc/machine-id is {state}",
    "`systemd-machine-id-setup`, and reboot: journal, DHCP and Kubernetes tell machines apart by it.",
)
MAC_TWICE = Kind(
    "mac-twice",
    "{names} have the same hardware address, {mac}: one was cloned from the other",
    "Give each virtual machine its own.",
)
MOUNTED_OVER = Kind(
    "mounted-over",
    "{path} is a mount of its own, so it cannot be replaced",
    "`umount {path}`; a container engine that mounts it there has an option that leaves it alone.",
)
IMMUTABLE = Kind(
    "immutable",
    "{path} cannot be changed, not even by root (chattr +i)",
    "`chattr -i {path}`, and ask who set it.",
)

# The clock
CLOCK = Kind(
    "clock",
    "its clock is {seconds} s {direction} the others'",
    "`date -s` it to the time of the others, or mend what sets it: packages and certificates would not hold yet.",
)
CLOCK_HERE = Kind(
    "clock-here",
    "the hosts' clocks are {seconds} s {direction} this machine's",
    "Set this machine's clock: certificates that it makes would not hold yet, or end early.",
    warning=True,
)

# Packages
APT_LOCKED = Kind(
    "apt-locked",
    "{program} (process {pid}) holds {lock}",
    "Wait until it ends; `systemctl stop {unit}` if it is a service.",
)
DPKG_INTERRUPTED = Kind(
    "dpkg-interrupted",
    "dpkg was interrupted in the middle of its work",
    "`dpkg --configure -a`, then `apt-get -f install`, as root there, and see what it says.",
)
BROKEN = Kind(
    "packages-broken",
    "packages are not installed to the end: {packages}",
    "`dpkg --configure -a` and `apt-get -f install`; the installer tries the first by itself.",
    warning=True,
)
HELD = Kind(
    "packages-held",
    "packages are held in another version than the release's: {packages}",
    "`apt-mark unhold {names}`, or take the release's component away.",
)
PINNED = Kind(
    "packages-pinned",
    "{path} tells apt which versions to prefer",
    "Move it away: what it prefers may be none of the site's packages.",
    warning=True,
)
UPGRADES = Kind(
    "unattended-upgrades",
    "{unit} runs: it holds apt's lock at times of its own, and looks for packages outside",
    "`systemctl disable --now {unit}`. Packages change with a release of the site.",
    warning=True,
)
RIVAL = Kind(
    "rival",
    "{unit} is enabled: after the next boot it may take a port of the site's services first",
    "`systemctl disable --now {unit}`, or remove its package.",
    warning=True,
)

# Disks
READ_ONLY = Kind(
    "read-only",
    "{path} is mounted read-only ({mount})",
    "`mount -o remount,rw {mount}`; if an error made it so, `dmesg` has it: mend the disk first.",
)
NOEXEC = Kind(
    "noexec",
    "nothing can be run from {path}: {mount} is mounted noexec",
    "`mount -o remount,exec {mount}`, and in /etc/fstab. {why}",
)
NOEXEC_TMP = Kind(
    "noexec-tmp",
    "nothing can be run from {path}: {mount} is mounted noexec",
    "`mount -o remount,exec {mount}` while packages are installed: some run their questions from there.",
    warning=True,
)
SPACE = Kind(
    "space",
    "the file system at {mount} has {free} free and needs {need}: {parts}, and {margin} to spare",
    "Free {missing} there, make it larger, or mount a larger one at {path}.",
)
INODES = Kind(
    "inodes",
    "the file system at {mount} has room for {free} files and needs {need}: {parts}",
    "Remove small files there, or make a file system with more inodes (`mkfs.ext4 -i 8192`) for {path}.",
)

# The network
PORT = Kind(
    "port",
    "{protocol} port {port}, which {component} needs, is taken by {holder} ({address})",
    "Stop it for good ({how}), or give it another port.",
)
MTU = Kind(
    "mtu",
    "{nic} has MTU {mtu}; the network {network} says {declared}",
    "`ip link set {nic} mtu {declared}`, and in its configuration; or correct `mtu:`. Long packets would vanish.",
)
MTU_DIFFERS = Kind(
    "mtu-differs",
    "{nic} has MTU {mtu}; most hosts of {network} have {usual}",
    "Give all hosts of the network one MTU, and say it in site.yaml (`mtu:`).",
)
NIC = Kind(
    "nic",
    "it has no interface {nic}, which is to be for {use}",
    "Correct `nics:` in site.yaml. It has {has}.",
)
NIC_DOWN = Kind(
    "nic-down",
    "{nic}, which is to be for {use}, is down",
    "`ip link set {nic} up`, and see its cable and its switch port.",
)
UNREACHED = Kind(
    "unreached",
    "it cannot reach {peer} on TCP port {port}",
    "See the route to {address}, and the firewalls on both and between: every host gets its software from there.",
)
VIP = Kind(
    "vip",
    "somebody has the virtual address {address} ({name}) already: {mac} answers for it",
    "Find that machine and take the address from it, or choose another one for `vips: {name}`.",
)
FIREWALL = Kind(
    "firewall",
    "its firewall drops what comes in, and has no rule for {ports}",
    "Let the site's networks reach these ports.",
    warning=True,
)

# What was installed here before
TRUST = Kind(
    "store-trust",
    "its store trusts {pinned}, not {given}",
    "Give the keys that the site was made with. A store of another site: move {root} away.",
)
OLDER = Kind(
    "store-release",
    "its store has had {known} already; this is {given}",
    "Carry a newer release: a site does not go back to an older one, nor to other content under one number.",
)
OTHER_STORE = Kind(
    "store-keys",
    "its store signs packages by another key than the one among this site's secrets",
    "If the key was not just rotated: the store is another site's, or the secrets file is not the right one.",
    warning=True,
)

# The release
SHORT = Kind(
    "release-short",
    "{component} needs the {kind} {name}, and the release does not have it",
    "Carry a release that `bundle create` made of a lock as `bundle lock` writes it: neither lets that happen.",
)
SKEW = Kind(
    "release-skew",
    "the release's versions do not fit: {skew}",
    "Carry a release of versions that do; `bundle check` on the connected side shows them.",
)
SILENCED = Kind(
    "release-silenced",
    "{component} was let pass although the release lacks {name}: {reason}",
    "See whether that holds on this site. If not, carry a release without that `silence`.",
    warning=True,
)

ALL = tuple(value for value in tuple(globals().values()) if isinstance(value, Kind))
