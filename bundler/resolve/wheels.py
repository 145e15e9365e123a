"""Wheels: of the components for the profile's Python versions, and of the tool itself for the bootstrap's."""

from dataclasses import dataclass, replace
from functools import partial

from bundler.errors import ResolutionFailed
from bundler.model.lock import LockedWheel
from bundler.resolve.run import Job, Run
from bundler.sources.bootstrap import REQUIREMENTS
from bundler.sources.wheels import resolve_wheels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Requirements for some Python versions, the wheels locked for them before, and where new ones belong."""

    what: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...]
    constraints: tuple[str, ...]
    before: tuple[LockedWheel, ...]
    found: list[LockedWheel]


def wheel_jobs(run: Run) -> list[Job]:
    profile, before = run.profile, run.before
    asked = tuple(dict.fromkeys(wheel for component in run.declared.components for wheel in component.content.wheels))
    components = _Wanted(
        what="wheels",
        requirements=asked,
        pythons=profile.python,
        constraints=profile.constraints,
        before=before.wheels if before else (),
        found=run.found.wheels,
    )
    bootstrap = _Wanted(
        what="wheels of the tool itself",
        requirements=REQUIREMENTS if profile.bootstrap else (),
        pythons=profile.bootstrap,
        constraints=(),
        before=before.bootstrap.wheels if before else (),
        found=run.found.bootstrap,
    )
    return [(each.what, partial(_resolve, run, each)) for each in (components, bootstrap) if each.requirements]


def _resolve(run: Run, wanted: _Wanted) -> None:
    if not wanted.pythons:
        output = "the profile has no `python:` versions"
        raise ResolutionFailed(what=", ".join(wanted.requirements), output=output)
    found: dict[LockedWheel, tuple[str, ...]] = {}
    for platform in run.profile.platforms:
        resolved = resolve_wheels(
            wanted.requirements,
            pythons=wanted.pythons,
            glibc=run.profile.glibc,
            architecture=platform.architecture,
            index=run.resolvers.index,
            constraints=wanted.constraints,
            keep=wanted.before,
            update=run.update,
        )
        for wheel in resolved.entries:
            bare = replace(wheel, pythons=())
            found[bare] = (*found.get(bare, ()), *wheel.pythons)
        run.found.gone += [wheel.file for wheel in resolved.gone]
    # A wheel for every platform may be for other Pythons on each.
    wanted.found.extend(
        replace(wheel, pythons=tuple(python for python in wanted.pythons if python in pythons))
        for wheel, pythons in found.items()
    )
    run.progress.note(f"{len(wanted.found)} {wanted.what} for Python {', '.join(wanted.pythons)}")
