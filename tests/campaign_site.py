"""Campaigns against a site: `bundle` run beside a lab of nodes as an administrator runs it, killed whenever the journal
says that something began or ended; power cut; and what two installations of the same site have in common."""

import contextlib
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaigns import BUNDLE, frozen_tool
from tests.nodes import Lab, SiteBundle, site_bundle

LEAVES_NOTHING = {"left": 0, "names": 0, "tried": []}  # what the lab's router says of a site that needs no outside
# Nodes share one kernel with each other and with whatever else runs here: these settings are nobody's.
SHARED_KERNEL = (
    "{base: {sysctls: {vm.overcommit_memory: leave, vm.swappiness: leave, vm.max_map_count: leave, "
    "fs.inotify.max_user_instances: leave, fs.inotify.max_user_watches: leave, fs.aio-max-nr: leave, "
    "kernel.panic: leave}}}"
)
_WAIT = 3600.0  # seconds for one command: an upgrade of a cluster takes its time
_LOOK = 0.002  # seconds between two looks at the journal

# Discovers components in one more folder: how a test adds one without the tool knowing.
_WITH_MORE = """
import sys
import bundler.components as found
found.__path__.append(sys.argv.pop(1))
from bundler.cli.main import main
sys.exit(main())
"""

Event = dict[str, Any]


def outward(lab: Lab) -> list[dict[str, Any]]:
    """What tried to leave the lab, but for what a node whose power was cut says to connections that it had before: this
    machine's, to whose end of the link (10.76.N.1) no node opens any."""
    found = lab.packets()
    names = [{"questions for names": found["names"]}] if found["names"] else []
    return [*(each for each in found["tried"] if not each["to"].startswith("10.76.")), *names]


def name_of(event: Event) -> tuple[str, str, str, str]:
    """An action as the plan and the journal name it."""
    return event["host"], event["step"], event["kind"], event["target"]


# --- an administrator's folder, and the commands in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A folder with site.yaml. `more` is a folder with further components."""

    lab: Lab
    folder: Path
    bundle: SiteBundle
    more: Path | None = None

    @property
    def state(self) -> Path:
        return self.folder / "site.state"

    @property
    def journal_file(self) -> Path:
        return self.state / "journal.jsonl"

    @property
    def release(self) -> tuple[str, ...]:
        """What names the release, for plan, apply and install."""
        return str(self.bundle.path), "--trust", str(self.bundle.public)

    def write_site(self, **site: Any) -> None:
        (self.folder / "site.yaml").write_text(self.lab.site_yaml(**site))

    def start(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        program = [BUNDLE[0], "-c", _WITH_MORE, str(self.more)] if self.more else [*BUNDLE]
        environment = {**self.lab.environment, "PYTHONPATH": str(frozen_tool())}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*program, *words], cwd=self.folder, text=True, env=environment, **{**pipes, **options})

    def run(self, *words: str, code: int | None = 0) -> Said:
        """To the end, with the exit code that is expected (None: any); never a fault of the tool's own."""
        began = time.monotonic()
        with self.start(*words) as process:
            out, err = process.communicate(timeout=_WAIT)
        said = Said(code=process.returncode, out=out, err=err, seconds=time.monotonic() - began)
        check(said, words, code)
        return said

    def apply(self, *words: str, code: int | None = 0) -> Said:
        return self.run("apply", *self.release, "--yes", *words, code=code)

    def journal(self) -> list[Event]:
        """All entries; of a run that was killed while it wrote, the last line may be half."""
        found = []
        for line in self.journal_file.read_text().splitlines() if self.journal_file.exists() else []:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def ended(self, since: int = 0) -> list[Event]:
        """The actions that ended well, in the order of their ends."""
        return [each for each in self.journal()[since:] if each["event"] == "end" and "error" not in each]


def check(said: Said, words: Iterable[str], code: int | None) -> None:
    told = f"bundle {' '.join(words)}: {said.code} after {said.seconds:.1f} s\n{said.out[-4000:]}{said.err[-8000:]}"
    assert code is None or said.code == code, told
    assert "Traceback" not in said.err, told
    assert "fault of the tool" not in said.err, told


@contextlib.contextmanager
def at_the_question(office: Office, *words: str) -> Iterator["Asked"]:
    """An installer on a terminal that has shown its plan, holds the lease and asks whether to do it."""
    ours, theirs = pty.openpty()
    with office.start(*words, stdin=theirs) as process:
        os.close(theirs)
        asked = Asked(process=process, terminal=ours)
        try:
            asked.wait()
            yield asked
        finally:
            process.kill()
            os.close(ours)


class Asked:
    def __init__(self, *, process: "subprocess.Popen[str]", terminal: int) -> None:
        self.process, self._terminal = process, terminal
        self._said: list[str] = []
        self._asks = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        while said := self.process.stderr.read(1):
            self._said.append(said)
            if said == "?" and "".join(self._said[-6:]) == "Do it?":
                self._asks.set()
        self._asks.set()

    def wait(self) -> None:
        assert self._asks.wait(120)
        assert self.process.poll() is None, "".join(self._said)

    def stop(self) -> None:
        """It sleeps, as a laptop does that is shut."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def answer(self, text: str) -> Said:
        """Say it, and wait for the end."""
        began = time.monotonic()
        os.write(self._terminal, f"{text}\n".encode())
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(timeout=_WAIT)
        self._reader.join(10)
        return Said(code=code, out=out, err="".join(self._said), seconds=time.monotonic() - began)


def own_bundle(folder: Path) -> SiteBundle:
    """The site's bundle under names of our own: another run that makes a newer one throws the shared one away."""
    shared, mine = site_bundle(), folder / "bundle"
    shutil.copytree(shared.folder, mine, copy_function=_link)
    return SiteBundle(folder=mine)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another filesystem
        shutil.copy(source, target)


# --- following an installer by its journal


@dataclass(slots=True, kw_only=True)
class Followed:
    """An installer that was watched: what its journal said meanwhile, and how it ended. `stopped` says that it was
    ended from outside."""

    said: Said
    events: list[Event]
    stopped: bool

    @property
    def ended(self) -> list[Event]:
        return [each for each in self.events if each["event"] == "end" and "error" not in each]


def follow(office: Office, words: Iterable[str], seen: Callable[[Event], bool]) -> Followed:
    """Start an installer, show `seen` each line of its journal when it is written; once that says yes, kill -9.

    Only the installer is killed: its ssh clients and what runs on the hosts are left to themselves, as in life.
    """
    began, stopped, events = time.monotonic(), False, []
    before = office.journal_file.stat().st_size if office.journal_file.exists() else 0
    with office.start(*words) as process, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(process.communicate, timeout=_WAIT)
        for event in _lines(office.journal_file, before, process):
            events.append(event)
            if not stopped and seen(event):
                process.kill()
                stopped = True
        out, err = heard.result()
    said = Said(code=process.returncode, out=out, err=err, seconds=time.monotonic() - began)
    return Followed(said=said, events=events, stopped=stopped)


def _lines(path: Path, offset: int, process: "subprocess.Popen[str]") -> Iterator[Event]:
    """The journal's entries behind `offset` as they come, until the process has ended."""
    over = False
    while not over:
        over = process.poll() is not None
        data = b""
        if path.exists():
            with path.open("rb") as journal:
                journal.seek(offset)
                data = journal.read()
        whole = data[: data.rfind(b"\n") + 1]
        offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):  # what the run before left half
                yield json.loads(line)
        if not whole:
            time.sleep(_LOOK)


# --- what a host has in the end

_FACTS = r"""
import hashlib, os, stat, subprocess, json
LEFT_OUT = tuple(%s)
found = {}
def look(path):
    if path.startswith(LEFT_OUT) or path.endswith(("/__pycache__", "Release", ".dpkg-old")):
        return
    s = os.lstat(path)
    what = f"{stat.filemode(s.st_mode)} {s.st_uid}:{s.st_gid}"
    if stat.S_ISLNK(s.st_mode):
        found[path] = f"{what} -> {os.readlink(path)}"
    elif stat.S_ISREG(s.st_mode):
        with open(path, "rb") as file:
            found[path] = f"{what} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    elif stat.S_ISDIR(s.st_mode):
        found[path + "/"] = what
        for name in sorted(os.listdir(path)):
            look(os.path.join(path, name))
    else:
        found[path] = what
for top in %s:
    if os.path.lexists(top):
        look(top)
def lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
for line in lines("dpkg-query", "-W", "-f", "${Package}:${Architecture} ${db:Status-Abbrev} ${Version}\n"):
    found["package " + line.split()[0]] = line
for line in lines("systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,socket,timer,path"):
    name, load, active, sub = line.split()[:4]
    found["unit " + name] = f"{load} {active} {sub}"
for line in lines("systemctl", "list-unit-files", "--no-legend"):
    found["unit file " + line.split()[0]] = line.split()[1]
for line in lines("ss", "-Hltun"):
    kind, state, _, _, local = line.split()[:5]
    found[f"port {kind} {local}"] = state
print(json.dumps(found))
"""
_TREES = ("/etc", "/srv/bundle", "/opt", "/usr/local", "/var/lib/bundle", "/var/lib/bundle-registry", "/root")
# What says who installed when, or is sealed or signed anew each time, and not what was installed; nor what Python
# compiled, a package index's time, and what dpkg keeps of a configuration that was cut off, wherever they lie.
_LEFT_OUT = (
    "/etc/bundle/site.secrets",
    "/etc/bundle/site.state",
    "/srv/bundle/.lock",
    "/srv/bundle/state/site.json",  # the index's time too; the generation's name says the release
    "/var/lib/bundle/programs",
    "/var/lib/bundle/watch.json",
    "/var/lib/bundle/lease",
    "/var/lib/bundle/epoch",
    "/var/lib/bundle/lock",
    "/root/.ssh",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
)


def facts_of(lab: Lab, node: str, *, trees: tuple[str, ...] = _TREES) -> dict[str, str]:
    """Files by content, mode and owner; packages; units; ports: everything but dates."""
    script = _FACTS % (repr(_LEFT_OUT), repr(trees))
    return dict(json.loads(lab.run(node, "python3 -I -", stdin=script.encode(), timeout=300)))


def all_facts(lab: Lab) -> dict[str, dict[str, str]]:
    return {node.name: facts_of(lab, node.name) for node in lab.nodes}


def differences(one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What two sites do not have in common, a line each."""
    found = []
    for host in one:
        for key in sorted({*one[host], *other[host]}):
            here, there = one[host].get(key, "nothing"), other[host].get(key, "nothing")
            if here != there:
                found.append(f"{host}: {key}: {here} | {there}")
    return found


# --- campaigns


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A host lost its power during an action; how the installer ended that saw it."""

    name: tuple[str, str, str, str]
    code: int
    seconds: float


@dataclass(slots=True, kw_only=True)
class Campaign:
    """`durations` are seconds of each action in an undisturbed run, by its name: for blows in the middle of one."""

    office: Office
    durations: Mapping[tuple[str, str, str, str], float]
    random: random.Random
    runs: list[Followed] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    def kill_after_each(self) -> None:
        """Kill each run after its first action, until one has nothing left to do."""
        while self._run(lambda event: event["event"] == "end").stopped:
            run = self.runs[-1]
            assert run.ended, f"killed after an action that did not end well: {run.events[-1]}"

    def kill_after_steps(self) -> set[str]:
        """Kill a run once for each step, when the last that was begun of it has ended, until one has nothing left to
        do. Which steps that were: of the others none of the last actions was seen to end, for another step was
        struck meanwhile."""
        struck: set[str] = set()
        begun: dict[str, set[str]] = {}

        def strike(event: Event) -> bool:
            if event["event"] == "begin":
                begun.setdefault(event["step"], set()).add(event["host"])
            if event["event"] != "end" or "error" in event:
                return False
            begun[event["step"]].discard(event["host"])
            if begun[event["step"]] or event["step"] in struck:
                return False
            struck.add(event["step"])
            begun.clear()
            return True

        while self._run(strike).stopped:
            begun.clear()
        return struck

    def kill_within(self) -> None:
        """Kill each run at a random moment of one of its first actions, until one has nothing left to do. An action is
        struck once: a slow one would never end."""
        struck: set[tuple[str, str, str, str]] = set()

        def strike(event: Event) -> bool:
            if event["event"] != "begin" or name_of(event) in struck or self.random.random() < 0.5:
                return False
            struck.add(name_of(event))
            self._wait_within(event)
            return True

        while self._run(strike).stopped:
            pass

    def cut_power(self, wanted: Callable[[Event], bool] = lambda event: True, *, kills: int = 0) -> None:
        """During every step that is wanted, at a random moment of the first of its actions that begins, cut its host's
        power; then switch it on again and let the next run go on: it lost as many hosts as such steps began on. As many
        installers as `kills` are killed besides."""
        done: set[str] = set()

        def undone(event: Event) -> bool:
            return event["step"] not in done and wanted(event)

        while (run := self._cut_once(undone, kills)).stopped or len(self.cuts) > len(done):
            kills -= run.stopped
            done |= {cut.name[1] for cut in self.cuts}

    def _cut_once(self, wanted: Callable[[Event], bool], kills: int) -> Followed:
        victims: list[Event] = []
        spared = self.random.randrange(10) if kills > 0 else -1

        def strike(event: Event) -> bool:
            nonlocal spared
            if event["event"] != "begin" or event["host"] in {victim["host"] for victim in victims}:
                return False
            if wanted(event) and event["step"] not in {victim["step"] for victim in victims}:
                victims.append(event)
                self._wait_within(event)
                self.office.lab.kill(event["host"])
                return False
            if victims:
                return False
            spared -= 1
            if spared == -1 and kills > 0:
                self._wait_within(event)
                return True
            return False

        run = self._run(strike, code=lambda: None if victims else 0)
        # An answer may have been on its way when the power went: of one victim, or of all.
        assert run.said.code == 0 or run.stopped or any(victim["host"] in run.said.err for victim in victims), (
            run.said.err
        )
        for victim in victims:
            self.cuts.append(Cut(name=name_of(victim), code=run.said.code, seconds=run.said.seconds))
            self.office.lab.start(victim["host"])
        return run

    def _run(self, seen: Callable[[Event], bool], code: Callable[[], int | None] = lambda: 0) -> Followed:
        """One run, killed when `seen` says so; one that nobody killed must have ended with the code."""
        words = ("apply", *self.office.release, "--yes", "--quiet")
        run = follow(self.office, words, seen)
        check(run.said, words, None if run.stopped else code())
        self.runs.append(run)
        return run

    def _wait_within(self, event: Event) -> None:
        time.sleep(self.durations.get(name_of(event), 0.5) * self.random.random())

    def report(self) -> str:
        """The campaign in numbers, and what was done more than once."""
        names = [name_of(event) for run in self.runs for event in run.ended]
        seconds = sum(run.said.seconds for run in self.runs)
        kills = sum(run.stopped for run in self.runs)
        lines = [
            f"{len(self.runs)} runs, {kills} kills, {len(self.cuts)} power cuts, {len(names)} actions, {seconds:.0f} s"
        ]
        lines += sorted({f"  done again: {' '.join(name)}" for name in names if names.count(name) > 1})
        lines += [f"  cut in {' '.join(cut.name)}: code {cut.code} after {cut.seconds:.1f} s" for cut in self.cuts]
        return "\n".join(lines)
