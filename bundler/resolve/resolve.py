"""From a profile to a lock: every kind asked of its own resolver, all at once, all problems together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundler.catalog.load import Declared
from bundler.errors import BundleError, PinGone, ResolutionFailed
from bundler.model.lock import Lock, LockedBootstrap
from bundler.resolve.asked import asked_of
from bundler.resolve.charts import chart_jobs
from bundler.resolve.debs import deb_jobs
from bundler.resolve.files import file_jobs
from bundler.resolve.images import image_jobs
from bundler.resolve.revealed import reveal
from bundler.resolve.run import Job, Resolvers, Run
from bundler.resolve.wheels import wheel_jobs
from bundler.sources.pins import KEEP_ALL, Update
from bundler.support import parallel
from bundler.support.progress import Progress

_JOBS = 4


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
    run = Run(declared=declared, resolvers=resolvers, before=before, update=update, progress=progress)
    _raise_failures(_do(_named(run)))
    _check_gone(run, refresh)  # without a chart there is nothing to look into
    _raise_failures(_do(image_jobs(run, reveal(run))))
    _check_gone(run, refresh)
    return _lock(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What of a profile could be resolved: a lock of that, and by name what could not, and why."""

    lock: Lock | None
    found: tuple[str, ...]
    failed: tuple[tuple[str, BundleError], ...]


def survey(declared: Declared, resolvers: Resolvers, *, progress: Progress) -> Survey:
    """Resolve as far as sources answer; `lock` is there when all of them did."""
    run = Run(declared=declared, resolvers=resolvers, before=None, update=KEEP_ALL, progress=progress)
    jobs = _named(run)
    failed = _do(jobs)
    names = [name for name, _ in jobs]
    if not failed:
        jobs = image_jobs(run, reveal(run))
        failed, names = _do(jobs), [*names, *(name for name, _ in jobs)]
    lost = {name for name, _ in failed}
    return Survey(
        lock=None if failed else _lock(run),
        found=tuple(name for name in names if name not in lost),
        failed=tuple(failed),
    )


def _named(run: Run) -> list[Job]:
    """Everything that manifests name; independent of one another."""
    contents = [component.content for component in run.declared.components]
    images = [image for content in contents for image in content.images]
    files = [file for content in contents for file in content.files]
    return [*deb_jobs(run), *wheel_jobs(run), *chart_jobs(run), *image_jobs(run, images), *file_jobs(run, files)]


def _check_gone(run: Run, refresh: str) -> None:
    if run.found.gone:
        raise PinGone(gone=tuple(sorted(run.found.gone)), command=refresh)


def _do(jobs: Iterable[Job]) -> list[tuple[str, BundleError]]:
    """Run them; the names of those that failed, and why."""
    failed = parallel.each(jobs, lambda job: job[1](), jobs=_JOBS)
    return [(name, error) for (name, _), error in failed]


def _raise_failures(failed: Sequence[tuple[str, BundleError]]) -> None:
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise ResolutionFailed(
            what=f"{len(failed)} of the things that the profile asks for",
            output="\n".join(f"{name}: {error}" for name, error in failed),
        )


def _lock(run: Run) -> Lock:
    profile, found = run.profile, run.found
    return Lock(
        profile=profile.name,
        release=profile.release,
        platforms=profile.platforms,
        glibc=profile.glibc,
        pythons=profile.python,
        constraints=profile.constraints,
        bootstrap=LockedBootstrap(pythons=profile.bootstrap, wheels=tuple(found.bootstrap)),
        asked=tuple(asked_of(run, component) for component in run.declared.components),
        targets=tuple(found.targets),
        charts=tuple(found.charts),
        images=tuple(found.images),
        wheels=tuple(found.wheels),
        debs=tuple(found.debs),
        files=tuple(found.files),
    )
