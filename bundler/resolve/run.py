"""One resolution: what is asked, whom to ask, what was locked before, and what has been found so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bundler.catalog.load import Declared
from bundler.model.asked import LockedTarget
from bundler.model.lock import Lock, LockedChart, LockedDeb, LockedFile, LockedImage, LockedWheel
from bundler.model.profile import Profile
from bundler.model.reference import Reference
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Update
from bundler.support.progress import Progress
from bundler.transport import Transport, Upstreams

# A thing to ask, by name; all of one phase are independent of one another.
Job = tuple[str, Callable[[], None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolvers:
    """Whom to ask. `scratch` is a folder for what a resolver has to look into, gone with the resolution."""

    transport: Transport
    registry: Registry
    index: PackageIndex
    upstreams: Upstreams
    scratch: Path


@dataclass(slots=True, kw_only=True)
class Found:
    """What the resolvers add to. `gone` are pins that their sources no longer serve; `revealed` are images by component
    that its charts and tools showed."""

    images: list[LockedImage] = field(default_factory=list)
    charts: list[LockedChart] = field(default_factory=list)
    chart_versions: dict[str, str] = field(default_factory=dict)  # by release name
    wheels: list[LockedWheel] = field(default_factory=list)
    bootstrap: list[LockedWheel] = field(default_factory=list)
    debs: list[LockedDeb] = field(default_factory=list)
    targets: list[LockedTarget] = field(default_factory=list)
    files: list[LockedFile] = field(default_factory=list)
    revealed: dict[str, tuple[Reference, ...]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    declared: Declared
    resolvers: Resolvers
    before: Lock | None
    update: Update
    progress: Progress
    found: Found = field(default_factory=Found)

    @property
    def profile(self) -> Profile:
        return self.declared.profile
