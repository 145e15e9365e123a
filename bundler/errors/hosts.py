"""The site's hosts and what is done on them. Exit codes 90-99."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError

GO_ON = "Then run the same command again: it looks at what is so and goes on from there."
_SHOWN = 50


@dataclass(kw_only=True, eq=False)
class HostUnreachable(BundleError):
    """A host could not be reached, and nothing was run on it. `said` is the last line of what ssh said."""

    exit_code: ClassVar[int] = 90
    temporary: ClassVar[bool] = True
    host: str
    why: str
    said: str = ""
    advice: str = ""

    @property
    def summary(self) -> str:
        return f"cannot reach {self.host}: {self.why}"

    @property
    def detail(self) -> str:
        return f"ssh: {self.said}" if self.said else ""

    @property
    def hint(self) -> str:
        return self.advice


@dataclass(kw_only=True, eq=False)
class HostLost(BundleError):
    """A host vanished in the middle of a script: whether it ran to its end is not known. `said` is its last line."""

    exit_code: ClassVar[int] = 91
    temporary: ClassVar[bool] = True
    host: str
    why: str
    said: str = ""

    @property
    def summary(self) -> str:
        return f"{self.host} was lost while it worked: {self.why}"

    @property
    def detail(self) -> str:
        return f"it last said: {self.said}" if self.said else ""

    @property
    def hint(self) -> str:
        return f"See that it is up and its network holds. {GO_ON}"


@dataclass(kw_only=True, eq=False)
class HostKeyUnknown(BundleError):
    """A host showed a key that is not the one known for it, or none is known.

    `seen` is the SHA256 fingerprint that it showed, where ssh says it; `known` says where another key stands.
    """

    exit_code: ClassVar[int] = 92
    host: str
    seen: str = ""
    known: str = ""

    @property
    def summary(self) -> str:
        if self.known:
            return f"{self.host} shows another host key than the known one"
        return f"the host key of {self.host} is not known"

    @property
    def detail(self) -> str:
        lines = (f"it shows {self.seen}" if self.seen else "", f"known: {self.known}" if self.known else "")
        return "\n".join(line for line in lines if line)

    @property
    def hint(self) -> str:
        if self.known:
            return (
                "Someone may be in between. If the host was installed anew, compare the fingerprint on its console "
                f"(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then correct its `host_key:` in site.yaml or "
                f"run `bundle site trust-hosts SITE --replace {self.host}`."
            )
        return "Write its public key as `host_key:` into site.yaml, or run `bundle site trust-hosts SITE`."


@dataclass(kw_only=True, eq=False)
class NoPrivilege(BundleError):
    """The user that logs in on a host cannot become root there."""

    exit_code: ClassVar[int] = 93
    host: str
    user: str
    why: str
    advice: str = ""

    @property
    def summary(self) -> str:
        return f"{self.user} cannot become root on {self.host}: {self.why}"

    @property
    def hint(self) -> str:
        return self.advice


@dataclass(kw_only=True, eq=False)
class LeaseHeld(BundleError):
    """Another installer works on this site.

    `holder` is who, as user@machine and process; `where` the host that keeps the lease; `since` a time as text;
    `seconds` how long ago it last showed that it lives.
    """

    exit_code: ClassVar[int] = 94
    host: str
    holder: str
    where: str
    since: str
    seconds: float

    @property
    def summary(self) -> str:
        return f"{self.holder} installs this site, since {self.since}"

    @property
    def detail(self) -> str:
        return f"its lease is kept on {self.host} ({self.where}) and was renewed {self.seconds:.0f} s ago"

    @property
    def hint(self) -> str:
        return "Wait until it ends. If it is dead, its lease runs out by itself and the same command takes over."


@dataclass(kw_only=True, eq=False)
class Overtaken(BundleError):
    """A newer installer took the site over: this one may change nothing any more. `epoch` is this one's."""

    exit_code: ClassVar[int] = 95
    host: str
    epoch: int

    @property
    def summary(self) -> str:
        return f"{self.host} refused: it knows a newer installer than this one (epoch {self.epoch})"

    @property
    def hint(self) -> str:
        return "Leave the site to the newer one. When that has ended, run this again: it plans anew."


@dataclass(kw_only=True, eq=False)
class StalePlan(BundleError):
    """What the plan saw is no longer so."""

    exit_code: ClassVar[int] = 96
    differences: tuple[str, ...]

    @property
    def summary(self) -> str:
        count = len(self.differences)
        return f"the plan is stale: {count} thing{'s' if count > 1 else ''} changed since it was made"

    @property
    def detail(self) -> str:
        return "\n".join(self.differences)

    @property
    def hint(self) -> str:
        return "Look at who changed it; then run the same command again, for a new plan."


@dataclass(kw_only=True, eq=False)
class ActionFailed(BundleError):
    """An action of a step failed on a host. `output` has its last lines, `journal` the file with all."""

    exit_code: ClassVar[int] = 97
    host: str
    step: str
    what: str
    code: int
    output: str
    journal: str

    @property
    def summary(self) -> str:
        how = "did not end in time" if self.code == 124 else f"failed with code {self.code}"
        return f"{self.host}: {self.step}: {self.what} {how}"

    @property
    def detail(self) -> str:
        return "\n".join(part for part in (self.output, f"all of it: {self.journal}" if self.journal else "") if part)

    @property
    def hint(self) -> str:
        return f"Mend what the last lines say. {GO_ON}"


@dataclass(kw_only=True, eq=False)
class NotConverged(BundleError):
    """Everything ran without an error, and yet a new plan is not empty."""

    exit_code: ClassVar[int] = 98
    left: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"all ran, but {len(self.left)} action{'s are' if len(self.left) > 1 else ' is'} still to be done"

    @property
    def detail(self) -> str:
        more = len(self.left) - _SHOWN
        return "\n".join((*self.left[:_SHOWN], *([f"and {more} more"] if more > 0 else ())))

    @property
    def hint(self) -> str:
        return "Something undoes these, or a step judges its own work wrongly. Run it again; if it stays, report it."


@dataclass(kw_only=True, eq=False)
class PreflightFailed(BundleError):
    """The hosts are not ready; nothing was changed. Each finding says its fix."""

    exit_code: ClassVar[int] = 99
    findings: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # which alone would stop nothing

    @property
    def summary(self) -> str:
        count = len(self.findings)
        return f"the site is not ready: {count} finding{'s' if count > 1 else ''}; nothing was changed"

    @property
    def detail(self) -> str:
        return "\n".join((*self.findings, *self.warnings))

    @property
    def hint(self) -> str:
        return "Mend them all, then run the same command again."
