"""OS packages: for each target release and architecture, what the hosts of each role ask for."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from bundler.closure.choices import choices
from bundler.errors import ResolutionFailed
from bundler.model.component import PackageSet
from bundler.model.lock import LockedDeb
from bundler.model.platform import Platform
from bundler.model.profile import PackageTarget
from bundler.model.scalars import KERNEL
from bundler.resolve.asked import package_names
from bundler.resolve.run import Job, Run
from bundler.sources.debs import FoundDebs, WantedDebs, resolve_debs


def deb_jobs(run: Run) -> list[Job]:
    sets = [each for component in run.declared.components for each in component.content.packages]
    if sets and not run.profile.packages:
        names = tuple(name for each in sets for name in each.names)
        return [("Debian packages", partial(_refuse, names, "the profile has no `packages:` target"))]
    of_kernels = tuple(name for each in sets for name in each.names if KERNEL in name)
    if of_kernels and not run.profile.kernels:
        return [("Debian packages", partial(_refuse, of_kernels, "the profile names no `kernels:`"))]
    wanted = [
        (target, platform, roles)
        for target in run.profile.packages
        for platform in run.profile.platforms
        if (roles := _roles(run, sets, target))
    ]
    targets = _Targets(run, of_kernels, len(wanted))
    return [
        (
            f"packages for {target.name} {platform.architecture}",
            partial(_resolve, run, targets, target, platform, roles),
        )
        for target, platform, roles in wanted
    ]


def _refuse(names: tuple[str, ...], why: str) -> None:
    raise ResolutionFailed(what=", ".join(names), output=why)


def _roles(run: Run, sets: list[PackageSet], target: PackageTarget) -> dict[str, tuple[str, ...]]:
    """What a host of each role asks for; one without a role asks for what every host does."""
    here = [each for each in sets if not each.releases or target.release in each.releases]
    found = {}
    for role in dict.fromkeys(["", *(role for each in here for role in each.roles)]):
        names = tuple(name for each in here if not each.roles or role in each.roles for name in each.names)
        if names:
            found[role] = package_names(run.profile, names)
    return found


def _resolve(
    run: Run, targets: "_Targets", target: PackageTarget, platform: Platform, roles: Mapping[str, tuple[str, ...]]
) -> None:
    found = resolve_debs(
        WantedDebs(target=target, architecture=platform.architecture, roles=roles, optional=targets.of_kernels),
        transport=run.resolvers.transport,
        upstreams=run.resolvers.upstreams,
        manifests=run.declared.manifests,
        keep=run.before.debs if run.before else (),
        update=run.update,
    )
    run.found.gone += [f"{deb.package} {deb.version} ({deb.architecture})" for deb in found.gone]
    run.progress.note(f"{len(found.entries)} Debian packages for {target.release} {platform.architecture}")
    targets.add(found)


class _Targets:
    """What was found for each target. What concerns all of them is looked at when the last has come."""

    def __init__(self, run: Run, of_kernels: tuple[str, ...], count: int) -> None:
        self._kernels = {name.replace(KERNEL, kernel): kernel for kernel in run.profile.kernels for name in of_kernels}
        self._run, self._left = run, count
        self._found: list[FoundDebs] = []
        self._lock = threading.Lock()

    @property
    def of_kernels(self) -> frozenset[str]:
        """Names with a kernel in them: a kernel is of one release and architecture, and the others do not know it."""
        return frozenset(self._kernels)

    def add(self, found: FoundDebs) -> None:
        with self._lock:
            self._found.append(found)
            self._left -= 1
            if self._left == 0:
                self._finish()

    def _finish(self) -> None:
        """Raises ResolutionFailed for a kernel's package that no target has."""
        known = {name for found in self._found for role in found.target.roles for name in role.names}
        unknown = [f"{name}, for the kernel {kernel}" for name, kernel in self._kernels.items() if name not in known]
        if unknown:
            output = "no release of the profile has these packages; `kernels:` in the profile names what hosts run"
            raise ResolutionFailed(what="; ".join(unknown), output=output)
        # `Architecture: all` packages come with every platform.
        debs: dict[LockedDeb, None] = {deb: None for found in self._found for deb in found.entries}
        self._run.found.debs.extend(debs)
        self._found.sort(key=lambda found: found.target.name)
        others = [found.target for found in self._found]
        for found in self._found:
            chosen = choices(found.target, found.entries, debs, others=others)
            self._run.found.targets.append(replace(found.target, chosen=chosen))
