"""apt in a root of its own: it reads and writes nothing of the machine's package state, and needs no root rights."""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from bundler.errors import ResolutionFailed
from bundler.model.limits import LIMITS
from bundler.sources.apt_sources import NEEDED_FOR, AptMachine, AptSource
from bundler.sources.control import Stanza, stanzas
from bundler.support.files import read_file, writing
from bundler.support.run import Outcome, run

_TIMEOUT = 900.0  # seconds for one command; apt itself gives up on a silent server after half a minute, three times
_TAIL = 12  # lines of apt's output in an error
_USERINFO = re.compile(r"(?<=://)[^/\s]+@")
_PRINTED = re.compile(r"'[^']*' ([^ _]+)_([^ _]+)_([^ _]+)\.deb [0-9]+ ?.*")
_ARMOR = b"-----BEGIN"

# What is there before anything is asked for: Essential packages are nobody's dependency, and apt installs the rest.
BASE = ("?essential", "apt")

_SETTINGS = """\
Dir "{root}";
Dir::State "state";
Dir::State::status "{root}/status";
Dir::State::extended_states "{root}/extended_states";
Dir::Cache "cache";
Dir::Etc "etc";
Dir::Log "log";
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""
_FOLDERS = (
    "cache/archives/partial",
    "etc/apt.conf.d",
    "etc/preferences.d",
    "etc/sources.list.d",
    "log",
    "state/lists/partial",
)
_MACHINE_PATHS = {
    "Dir::Etc::trusted/f": "Dir::Etc::trusted",
    "Dir::Etc::trustedparts/d": "Dir::Etc::trustedparts",
    "Dir::Etc::netrc/f": "Dir::Etc::netrc",
    "Dir::Etc::netrcparts/d": "Dir::Etc::netrcparts",
}


@dataclass(frozen=True, slots=True, order=True)
class Build:
    """A binary package: apt's name for one file."""

    package: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateApt:
    root: Path

    def update(self) -> None:
        """Fetch and check the indexes of every source. Raises ResolutionFailed."""
        outcome = self._run("apt-get", "update", "--quiet=2", "-o", "APT::Update::Error-Mode=any")
        if outcome.code != 0:
            raise ResolutionFailed(what="the package indexes", output=_tail(outcome))

    def use(self, sources: Iterable[AptSource], architecture: str) -> None:
        """Raises NotReadable for a keyring that is none."""
        placed = (self._with_keyring(source, at) for at, source in enumerate(sources))
        text = "\n".join(source.stanza(architecture) for source in placed)
        with _private(self.root / "etc/sources.list.d/bundle.sources") as file:
            file.write_text(text, encoding="utf-8")

    def installed(self, status: str) -> None:
        """What dpkg says is installed; nothing until told."""
        (self.root / "status").write_text(status, encoding="utf-8")

    def prefer(self, pins: Iterable[Build]) -> None:
        """Take these builds before any others."""
        preferences = (f"Package: {pin.package}\nPin: version {pin.version}\nPin-Priority: 1001\n" for pin in pins)
        (self.root / "etc/preferences").write_text("\n".join(preferences), encoding="utf-8")

    def known(self, names: Iterable[str]) -> frozenset[str]:
        """Which of `names` are packages of some source."""
        bare = {name: re.split("[:=]", name)[0] for name in names}
        outcome = self._run("apt-cache", "show", "--no-all-versions", "--", *bare.values())
        shown = {stanza.get("Package", "") for stanza in stanzas(outcome.stdout.splitlines())}
        return frozenset(name for name, package in bare.items() if package in shown)

    def closure(self, names: Sequence[str]) -> tuple[Build, ...]:
        """What has to be installed to have `names`. Raises ResolutionFailed with apt's own words."""
        # What is there already stays as it is: only what is missing is wanted.
        outcome = self._run("apt-get", "install", "--print-uris", "--quiet", "--yes", "--no-upgrade", *names)
        if outcome.code != 0:
            raise ResolutionFailed(what=f"packages {' '.join(names)}", output=_tail(outcome))
        return tuple(sorted(_build(line) for line in outcome.stdout.splitlines() if line.startswith("'")))

    def simulate(self, index: str, names: Sequence[str]) -> str:
        """Why `names` cannot be installed from the packages of a Packages file's text; empty where they can."""
        file = self.root / "Packages"
        file.write_text(index, encoding="utf-8")
        source = f"--with-source={file}"
        outcome = self._run("apt-get", "install", "--simulate", "--quiet", "--yes", "--no-upgrade", source, *names)
        return _said(outcome) if outcome.code != 0 else ""

    def packages(self, source: AptSource) -> Iterator[Stanza]:
        """Every stanza of a source's Packages files, as the archive signed them."""
        targets = ["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(FILENAME)", "Created-By: Packages"]
        for line in self._run("apt-get", *targets).stdout.splitlines():
            base, suite, file = line.split(" ", 2)
            if (_bare(base).rstrip("/"), suite or "/") == (_bare(source.base), source.suite):
                with open(file, encoding="utf-8", errors="replace") as lines:
                    yield from stanzas(lines)

    def _with_keyring(self, source: AptSource, at: int) -> AptSource:
        """apt reads keys as a user of its own, who may not get to where the file is."""
        if source.keyring is None:
            return source
        data = read_file(source.keyring, limit=LIMITS.manifest)
        copy = self.root / f"etc/keyring-{at}.{'asc' if data.startswith(_ARMOR) else 'gpg'}"
        copy.write_bytes(data)
        copy.chmod(0o644)
        return replace(source, signed_by=str(copy))

    def _run(self, *command: str) -> Outcome:
        environment = {"APT_CONFIG": str(self.root / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        return run(command, needed_for=NEEDED_FOR, timeout=_TIMEOUT, environment=environment, directory=self.root)


@contextlib.contextmanager
def private_apt(architecture: str, machine: AptMachine | None = None) -> Iterator[PrivateApt]:
    """An apt with no packages, no sources, and of the machine's configuration only what leads to the network; nothing
    of it without `machine`."""
    with tempfile.TemporaryDirectory(prefix="bundle-apt-") as folder:
        root = Path(folder)
        # apt fetches as a user of its own, who has to get in; what may hold a password is closed to it.
        root.chmod(0o711)
        for name in _FOLDERS:
            (root / name).mkdir(parents=True)
        for directory in root.rglob("*"):
            directory.chmod(0o755)  # whatever the umask
        (root / "status").touch()
        settings = [_SETTINGS.format(root=root, architecture=architecture)]
        if machine is not None:
            settings += [_setting(name, machine.paths[path]) for path, name in _MACHINE_PATHS.items()]
            settings += [_setting(name, value) for name, value in machine.network]
        with _private(root / "apt.conf") as file:
            file.write_text("".join(settings), encoding="utf-8")
        yield PrivateApt(root=root)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Path]:
    """A file that only we can read, before anything is in it."""
    with writing(path):
        path.touch(mode=0o600)
        yield path


def _setting(name: str, value: str) -> str:
    # apt's configuration has no way to write a quote inside a value.
    return f'{name} "{value}";\n' if '"' not in value and "\n" not in value else ""


def _build(line: str) -> Build:
    match = _PRINTED.fullmatch(line)
    if match is None:
        raise ResolutionFailed(what="packages", output=f"apt printed a line that is no package: {line[:200]}")
    return Build(*map(unquote, match.groups()))


def _said(outcome: Outcome) -> str:
    """What apt said, without credentials: for unmet dependencies its stdout counts too."""
    return _bare("\n".join(part.strip() for part in (outcome.stdout, outcome.stderr) if part.strip()))


def _tail(outcome: Outcome) -> str:
    return "\n".join(_said(outcome).splitlines()[-_TAIL:])


def _bare(text: str) -> str:
    return _USERINFO.sub("", text)
