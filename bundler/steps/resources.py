"""Resources: what is to be so on a host. Each asks for facts and gives the actions that are missing: none, when it is
so already."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from bundler.errors import NotCarried
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import (
    Action,
    InstallPackages,
    MakeFolder,
    Remove,
    Run,
    SetAside,
    StartUnit,
    StopUnit,
    WriteFile,
    before,
)
from bundler.steps.facts import Ask, Fact, FileFact, FileState, HostFacts, PackageFact, UnitFact


class Resource(Protocol):
    def asks(self) -> tuple[Fact[Any], ...]:
        """The facts that `wanted` and `unwanted` read."""

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        """What is missing."""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        """What removes it; data only when `purge`."""


@runtime_checkable
class Versioned(Protocol):
    """A resource that knows which version of something a host has."""

    def versions(self, facts: HostFacts) -> Iterator[str]:
        """`NAME VERSION` of each."""


@runtime_checkable
class Ending(Protocol):
    """A resource that knows when certificates on a host end."""

    def ends(self, facts: HostFacts) -> Iterator[tuple[str, datetime]]:
        """Each by its name."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file with this content, mode and owner. `why` is the reason shown for a new one. `keep`: the host may have one
    of its own, which is kept and comes back when the component goes. `after` names the step that brings that one."""

    path: str
    content: str | Secret
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    why: str = ""
    keep: bool = False
    after: str = ""
    units: tuple[str, ...] = ()  # those that use it, beside the Service that it belongs to

    @property
    def fact(self) -> FileFact:
        return FileFact(path=self.path, secret=isinstance(self.content, Secret), after=self.after)

    @property
    def digest(self) -> Digest:
        text = self.content.reveal() if isinstance(self.content, Secret) else self.content
        return Digest.of(text.encode())

    @property
    def _kept(self) -> FileFact:
        return FileFact(path=before(self.path), secret=True)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact, self._kept) if self.keep else (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self.fact]
        if why := self._difference(have):
            if have is not None and have.kind == "symbolic link":
                # What it points at is somebody else's: the link goes, its target stays.
                there = f"a link to {have.link} is there"
                if self.keep and facts[self._kept] is not None:  # what was there at first stays kept
                    yield Remove(path=self.path, reason=there)
                else:
                    yield SetAside(path=self.path, aside=before(self.path), reason=there)
                have = None
            old, shown = (have.digest, have.content) if have else (None, None)
            yield WriteFile(
                path=self.path,
                content=self.content,
                old=old,
                before=shown,
                mode=self.mode,
                owner=self.owner,
                group=self.group,
                units=self.units,
                keep=self.keep,
                reason=why,
            )

    def _difference(self, have: FileState | None) -> str:
        if have is None:
            return self.why or "it is not there"
        if have.kind != "regular file":
            return f"a {have.kind} is there"
        if have.digest != self.digest:
            return "its content differs"
        if (have.mode, have.owner, have.group) != (self.mode, self.owner, self.group):
            return f"it is {have.mode:o} {have.owner}:{have.group}, not {self.mode:o} {self.owner}:{self.group}"
        return ""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[self.fact]
        if self.keep and facts[self._kept] is not None:
            yield SetAside(path=before(self.path), aside=self.path, reason="it was here before")
        elif have is not None and (not self.keep or have.digest == self.digest):
            # Another content than ours, with nothing kept, is the host's own, back again.
            yield Remove(path=self.path, reason="it is ours")


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A file that must have no effect: it is set aside, and comes back when the component goes."""

    path: str
    why: str

    def asks(self) -> tuple[Fact[Any], ...]:
        return (FileFact(path=self.path), FileFact(path=before(self.path)))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[FileFact(path=self.path)]
        if have is not None:
            yield SetAside(path=self.path, aside=before(self.path), old=have.digest, reason=self.why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[FileFact(path=before(self.path))]
        if have is not None and facts[FileFact(path=self.path)] is None:
            yield SetAside(path=before(self.path), aside=self.path, old=have.digest, reason="it was here before")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """`data`: what lies in it is kept when the component goes, unless it is purged."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    data: bool = False

    def asks(self) -> tuple[Fact[Any], ...]:
        return (FileFact(path=self.path),)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[FileFact(path=self.path)]
        if have is None or (have.kind, have.mode, have.owner, have.group) != (
            "directory",
            self.mode,
            self.owner,
            self.group,
        ):
            why = "it is not there" if have is None else "its mode or owner differs"
            yield MakeFolder(path=self.path, mode=self.mode, owner=self.owner, group=self.group, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if (purge or not self.data) and facts[FileFact(path=self.path)] is not None:
            yield Remove(path=self.path, whole=True, reason="it holds data" if self.data else "it is ours")


@dataclass(frozen=True, kw_only=True)
class Packages:
    """Debian packages in the versions that are carried for the host's release; a newer one on it is left alone."""

    component: str
    packages: tuple[PackageFact, ...]
    masked: tuple[str, ...] = ()

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.packages

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        """Raises NotCarried for what the host lacks and its release has no package of."""
        states = [(fact.package, facts[fact]) for fact in self.packages]
        missing = [(name, state.carried) for name, state in states if not state.version]
        older = [(name, state.carried) for name, state in states if state.older]
        if nowhere := tuple(f"package {name} for what {facts.host} runs" for name, version in missing if not version):
            raise NotCarried(component=self.component, missing=nowhere)
        if missing or older:
            why = " and ".join(
                text for text, some in (("not installed", missing), ("older than the release's", older)) if some
            )
            yield InstallPackages(packages=tuple(sorted(missing + older)), masked=self.masked, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()  # other programs may use them by now

    def versions(self, facts: HostFacts) -> Iterator[str]:
        return (f"{fact.package} {have}" for fact in self.packages if (have := facts[fact].version))


@dataclass(frozen=True, kw_only=True)
class Service:
    """A unit that is enabled, runs, and was started with its files as they are: `files` are written before it starts,
    those that it `uses` belong to another resource, which names this unit among theirs.

    `reload`: the program takes new settings without a restart. `ports` are what it listens on when it is up."""

    unit: str
    files: tuple[File, ...] = ()
    uses: tuple[File, ...] = ()
    ports: tuple[int, ...] = ()
    reload: bool = False
    timeout: float = 60
    why: str = ""

    @property
    def fact(self) -> UnitFact:
        return UnitFact(unit=self.unit)

    @property
    def stamp(self) -> str:
        parts = "".join(f"{file.path} {file.digest} {file.mode:o}\n" for file in (*self.files, *self.uses))
        return hashlib.sha256(parts.encode()).hexdigest()

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact, *(fact for file in (*self.files, *self.uses) for fact in file.asks()))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        changed = [action.target for file in self.uses for action in file.wanted(facts)]
        for file in self.files:
            for action in replace(file, units=(*file.units, self.unit)).wanted(facts):
                changed.append(action.target)
                yield action
        if why := self._difference(facts, changed):
            yield StartUnit(
                unit=self.unit,
                stamp=self.stamp,
                ports=self.ports,
                reload=self.reload and facts[self.fact].active == "active",
                timeout=self.timeout,
                reason=why,
            )

    def _difference(self, facts: HostFacts, changed: Sequence[str]) -> str:
        have = facts[self.fact]
        if changed:
            return f"{changed[0]} changes" if len(changed) == 1 else f"{len(changed)} of its files change"
        if have.load == "not-found":
            return self.why or "it is not there yet"
        if have.active != "active":
            return f"it is {have.active} ({have.sub})"
        if have.stamp != self.stamp:
            return "it runs with other settings"
        if have.file not in ("enabled", "enabled-runtime", "static", "generated", "alias", "indirect"):
            return f"it is {have.file or 'not enabled'}"
        return ""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[self.fact]
        if have.load != "not-found" and (have.active != "inactive" or have.file == "enabled" or have.stamp):
            yield StopUnit(unit=self.unit, reason="its component goes")
        for file in reversed(self.files):
            yield from file.unwanted(facts, purge=purge)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Nothing to be so: facts that a step looks at besides those of its resources."""

    facts: tuple[Fact[Any], ...]

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.facts

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from ()

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Done:
    """Anything else: `satisfied` reads the answer to `fact` and says what is missing, in words, or nothing; `text` is
    the sh that mends it."""

    name: str
    fact: Ask[Any]
    missing: Callable[[Any], str] = field(compare=False, repr=False)
    text: str = field(repr=False)
    timeout: float = 120
    undo: str = field(default="", repr=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if why := self.missing(facts[self.fact]):
            yield Run(name=self.name, text=self.text, timeout=self.timeout, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if self.undo and not self.missing(facts[self.fact]):
            yield Run(name=f"undo: {self.name}", text=self.undo, timeout=self.timeout, reason="its component goes")
