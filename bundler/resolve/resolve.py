"""From a profile to a lock: every kind asked of its own resolver, all at once, all problems together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bundler.catalog.load import Declared
from bundler.errors import BundleError, NotFound, PinGone, ResolutionFailed
from bundler.model.lock import Lock, LockedBootstrap, LockedDeb, LockedFile, LockedImage, LockedWheel
from bundler.model.profile import FileRequest
from bundler.model.reference import Reference
from bundler.resolve.bootstrap import REQUIREMENTS
from bundler.sources.debs import resolve_debs
from bundler.sources.files import file_source, measure
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Update
from bundler.sources.wheels import resolve_wheels
from bundler.support import parallel
from bundler.support.progress import Progress
from bundler.transport import Transport, Upstreams

_JOBS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolvers:
    """Whom to ask. `files` is the folder that `file:` URLs are below."""

    transport: Transport
    registry: Registry
    index: PackageIndex
    upstreams: Upstreams
    files: Path


def resolve(
    declared: Declared,
    resolvers: Resolvers,
    *,
    before: Lock | None,
    update: Update,
    progress: Progress,
    refresh: str,
) -> Lock:
    """Keep the pins of `before` that hold, unless `update` moves them.

    `refresh` is the command that moves pins. Raises PinGone with every pin that its source no longer serves;
    several failures come as one ResolutionFailed that names each.
    """
    asked = _Asked(declared, resolvers, before, update, progress)
    failed = parallel.each(asked.work(), lambda item: item[1](), jobs=_JOBS)
    _raise_failures([(name, error) for (name, _), error in failed])
    if asked.gone:
        raise PinGone(gone=tuple(sorted(asked.gone)), command=refresh)
    profile = declared.profile
    return Lock(
        profile=profile.name,
        release=profile.release,
        platforms=profile.platforms,
        bootstrap=LockedBootstrap(pythons=profile.bootstrap, wheels=tuple(asked.bootstrap)),
        images=tuple(asked.images),
        wheels=tuple(asked.wheels),
        debs=tuple(asked.debs),
        files=tuple(asked.files),
    )


def _raise_failures(failed: Sequence[tuple[str, BundleError]]) -> None:
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise ResolutionFailed(
            what=f"{len(failed)} of the things that the profile asks for",
            output="\n".join(f"{name}: {error}" for name, error in failed),
        )


class _Asked:
    """One resolution: the work to do, and what it has found so far."""

    def __init__(
        self, declared: Declared, resolvers: Resolvers, before: Lock | None, update: Update, progress: Progress
    ) -> None:
        self._declared, self._profile, self._resolvers = declared, declared.profile, resolvers
        self._before, self._update, self._progress = before, update, progress
        self.images: list[LockedImage] = []
        self.wheels: list[LockedWheel] = []
        self.bootstrap: list[LockedWheel] = []
        self.debs: list[LockedDeb] = []
        self.files: list[LockedFile] = []
        self.gone: list[str] = []

    def work(self) -> list[tuple[str, Callable[[], None]]]:
        """Everything there is to ask, by name; independent of one another."""
        components = self._declared.components
        images = dict.fromkeys(image for component in components for image in component.images)
        files = dict.fromkeys(file for component in components for file in component.files)
        wheels = tuple(dict.fromkeys(wheel for component in components for wheel in component.wheels))
        debs = tuple(dict.fromkeys(deb for component in components for deb in component.debs))
        work: list[tuple[str, Callable[[], None]]] = []
        if debs:
            work.append(("Debian packages", partial(self._resolve_debs, debs)))
        if wheels:
            work.append(("wheels", partial(self._resolve_wheels, wheels, self._profile.python, self.wheels)))
        if self._profile.bootstrap:
            resolve_bootstrap = partial(
                self._resolve_wheels, REQUIREMENTS, self._profile.bootstrap, self.bootstrap, bootstrap=True
            )
            work.append(("wheels of the bootstrap", resolve_bootstrap))
        work += [(f"image {image}", partial(self._resolve_image, image)) for image in images]
        work += [(f"file {file.name}", partial(self._resolve_file, file)) for file in files]
        return work

    def _resolve_debs(self, names: tuple[str, ...]) -> None:
        target = self._profile.packages
        if target is None:
            raise ResolutionFailed(what=", ".join(names), output="the profile has no `packages:` target")
        for platform in self._profile.platforms:
            resolved = resolve_debs(
                names,
                archive=target.archive,
                release=target.release,
                architecture=platform.architecture,
                transport=self._resolvers.transport,
                upstreams=self._resolvers.upstreams,
                keep=self._before.debs if self._before else (),
                update=self._update,
            )
            # `Architecture: all` packages come with every platform.
            self.debs += [deb for deb in resolved.entries if deb not in self.debs]
            self.gone += [f"{deb.package} {deb.version} ({deb.architecture})" for deb in resolved.gone]
        self._progress.note(f"{len(self.debs)} Debian packages for {target.release}")

    def _resolve_wheels(
        self,
        requirements: tuple[str, ...],
        pythons: tuple[str, ...],
        found: list[LockedWheel],
        *,
        bootstrap: bool = False,
    ) -> None:
        if not pythons:
            raise ResolutionFailed(what=", ".join(requirements), output="the profile has no `python:` versions")
        before = self._before.bootstrap.wheels if self._before and bootstrap else ()
        if self._before and not bootstrap:
            before = self._before.wheels
        for platform in self._profile.platforms:
            resolved = resolve_wheels(
                requirements,
                pythons=pythons,
                glibc=self._profile.glibc,
                architecture=platform.architecture,
                index=self._resolvers.index,
                keep=before,
                update=self._update,
            )
            found += [wheel for wheel in resolved.entries if wheel not in found]
            self.gone += [wheel.file for wheel in resolved.gone]
        what = "wheels of the tool itself" if bootstrap else "wheels"
        self._progress.note(f"{len(found)} {what} for Python {', '.join(pythons)}")

    def _resolve_image(self, reference: Reference) -> None:
        registry, platforms = self._resolvers.registry, self._profile.platforms
        kept = self._kept_image(reference)
        if kept is None or self._update.moves(str(reference)):
            self.images.append(registry.resolve(reference, platforms))
        elif not registry.still_there(reference, kept.root.digest):
            self.gone.append(f"{reference} ({kept.root.digest})")
        else:
            self.images.append(self._again(kept))
            self._note_newer(reference, kept)
        self._progress.note(f"image {reference}")

    def _note_newer(self, reference: Reference, kept: LockedImage) -> None:
        try:
            now = self._resolvers.registry.current(reference)
        except NotFound:
            return  # the tag was taken away; the pin does not need it
        if now != kept.root.digest:
            self._progress.note(f"{reference} is {now} by now; --update='{reference}' takes it")

    def _kept_image(self, reference: Reference) -> LockedImage | None:
        images = self._before.images if self._before else ()
        return next((image for image in images if image.reference == reference), None)

    def _again(self, kept: LockedImage) -> LockedImage:
        """The pinned image; looked at again when the platforms to carry are others than before."""
        if self._before and self._before.platforms == self._profile.platforms:
            return kept
        pinned = replace(kept.reference, digest=kept.root.digest)
        return replace(self._resolvers.registry.resolve(pinned, self._profile.platforms), reference=kept.reference)

    def _resolve_file(self, file: FileRequest) -> None:
        before = self._before.files if self._before else ()
        known = next((each for each in before if (each.url, each.digest) == (file.url, file.digest)), None)
        if known:
            size = known.size
        else:
            source = file_source(file.url, files=self._resolvers.files)
            size = measure(source, transport=self._resolvers.transport, digest=file.digest, name=file.name)
        self.files.append(LockedFile(name=file.name, url=file.url, digest=file.digest, size=size))
        self._progress.note(f"file {file.name}")
