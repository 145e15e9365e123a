"""Reading a profile and the components that it chooses."""

from dataclasses import dataclass
from pathlib import Path

from bundler.catalog.manifests import Manifests
from bundler.errors import InvalidDocument, Malformed, NotReadable, Problem
from bundler.model.component import Component
from bundler.model.component_parser import parse_component
from bundler.model.limits import LIMITS
from bundler.model.profile import Choice, Profile, parse_profile
from bundler.support.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A profile with the components that it chooses, each in its version; `manifests` is where they were found."""

    profile: Profile
    components: tuple[Component, ...]
    manifests: Manifests


def load(profile: str, *, manifests: Manifests) -> Declared:
    """`profile` is a name in `manifests`, or the path of a file; one in some `MANIFESTS/profiles/` finds its
    components there first.

    Raises NotReadable, and InvalidDocument with the problems of all files at once.
    """
    path = Path(profile)
    if path.suffix in (".yaml", ".yml") or "/" in profile:
        if path.resolve().parent.name == "profiles":
            manifests = manifests.before(path.resolve().parent.parent)
    else:
        path = manifests.find("profiles", profile)
    chosen = parse_profile(read_text(path, limit=LIMITS.document), file=str(path))
    components: list[Component] = []
    problems: list[Problem] = []
    for choice in chosen.components:
        try:
            components.append(load_component(choice, manifests=manifests))
        except InvalidDocument as error:
            problems.extend(error.problems)
        except NotReadable as error:
            problems.append(Problem(file=str(path), line=1, found=error.summary, expected=f"the component {choice}"))
        except Malformed as error:
            problems.append(Problem(file=str(path), line=1, found=error.found, expected=error.expected))
    problems.extend(_clashes(chosen, components, path))
    if problems:
        raise InvalidDocument(problems=tuple(problems))
    return Declared(profile=chosen, components=tuple(components), manifests=manifests)


def load_component(choice: Choice, *, manifests: Manifests) -> Component:
    """Raises NotReadable, InvalidDocument, and Malformed for a version that the component does not have."""
    return read_component(choice.name, manifests=manifests).at(choice.version)


def read_component(name: str, *, manifests: Manifests) -> Component:
    """A component with all its versions. Raises NotReadable, InvalidDocument."""
    path = manifests.find("components", name)
    component = parse_component(read_text(path, limit=LIMITS.document), file=str(path))
    if component.name != name:
        problem = Problem(file=str(path), line=1, found=f"component: {component.name}", expected=f"component: {name}")
        raise InvalidDocument(problems=(problem,))
    return component


def _clashes(profile: Profile, components: list[Component], path: Path) -> list[Problem]:
    """What no single manifest shows: a component twice, two charts under one release name, values for no chart."""
    owners: dict[str, str] = {}
    problems = []
    for component in components:
        names = [f"component {component.name}", *(f"release {chart.release}" for chart in component.content.charts)]
        for name in names:
            if name in owners:
                found = f"the {name} in {owners[name]} and in {component.name}"
                problems.append(Problem(file=str(path), line=1, found=found, expected="each name once"))
            owners.setdefault(name, component.name)
    for release, _ in profile.values:
        if f"release {release}" not in owners:
            found = f"values for {release}, which no component installs"
            problems.append(Problem(file=str(path), line=1, found=found, expected="a chart's release name"))
    return problems
