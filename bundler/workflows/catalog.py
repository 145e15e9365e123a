"""`bundle catalog`: what the manifests offer, what one component needs, what a profile chooses."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bundler.catalog.licenses import licenses_of, unaccepted
from bundler.catalog.load import Declared, load, read_component
from bundler.catalog.manifests import Manifests
from bundler.errors import InvalidDocument, Problem, Usage
from bundler.model.component import Component
from bundler.model.limits import LIMITS
from bundler.model.profile import Profile, parse_choice, parse_profile
from bundler.support.files import read_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that the folders offer; of a name that several folders have, the first."""

    components: tuple[Component, ...]
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownComponent:
    """A component with all its versions, or with everything that the one asked for needs; `chosen_by` are profiles,
    each with the version that it chooses (empty for a component without versions)."""

    component: Component
    path: str
    chosen_by: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProfile:
    """`licenses` are those that its entries carry, and `missing` those of them that it does not accept."""

    declared: Declared
    path: str
    licenses: tuple[str, ...]
    missing: tuple[str, ...]


def catalog(manifests: Manifests) -> Catalog:
    """Raises InvalidDocument with the problems of all manifests at once, NotReadable."""
    problems: list[Problem] = []
    components = _good(manifests, "components", read_component, problems)
    profiles = _good(manifests, "profiles", read_profile, problems)
    if problems:
        raise InvalidDocument(problems=tuple(problems))
    return Catalog(components=components, profiles=profiles)


def show(asked: str, manifests: Manifests) -> ShownComponent | ShownProfile:
    """`asked` is a component, `NAME@VERSION` for one of its versions, a profile, or a profile's file.

    A name that both have is the component's. Raises Usage for a name that nothing has, Malformed for a version that
    the component does not have, InvalidDocument, NotReadable.
    """
    if "/" in asked or asked.endswith((".yaml", ".yml")):
        return _show_profile(asked, asked, manifests)
    choice = parse_choice(asked)
    if choice.name in manifests.names("components"):
        component = read_component(choice.name, manifests=manifests)
        return ShownComponent(
            component=component.at(choice.version) if choice.version else component,
            path=str(manifests.find("components", choice.name)),
            chosen_by=_chosen_by(choice.name, manifests),
        )
    if asked in manifests.names("profiles"):
        return _show_profile(asked, str(manifests.find("profiles", asked)), manifests)
    known = (*manifests.names("components"), *manifests.names("profiles"))
    close = difflib.get_close_matches(choice.name, known, n=3, cutoff=0.5)
    raise Usage(
        message=f"the catalog has no component or profile {choice.name}",
        advice=f"Close to it: {', '.join(close)}." if close else "`bundle catalog` lists the names.",
    )


def _show_profile(profile: str, path: str, manifests: Manifests) -> ShownProfile:
    declared = load(profile, manifests=manifests)
    licenses = {name for component in declared.components for name in licenses_of(component.content)}
    return ShownProfile(
        declared=declared,
        path=path,
        licenses=tuple(sorted(licenses)),
        missing=tuple(sorted({name for name, _ in unaccepted(declared)})),
    )


def _chosen_by(name: str, manifests: Manifests) -> tuple[tuple[str, str], ...]:
    """A broken profile does not keep a component from being shown: it chooses nothing."""
    found = []
    for each in manifests.names("profiles"):
        try:
            profile = read_profile(each, manifests=manifests)
        except InvalidDocument:
            continue
        found += [(each, choice.version) for choice in profile.components if choice.name == name]
    return tuple(found)


def read_profile(name: str, *, manifests: Manifests) -> Profile:
    """A profile by its name, without its components. Raises NotReadable, InvalidDocument."""
    path = manifests.find("profiles", name)
    return parse_profile(read_text(path, limit=LIMITS.document), file=str(path))


def _good(manifests: Manifests, kind: str, read: Callable[..., T], problems: list[Problem]) -> tuple[T, ...]:
    """All manifests of a kind that can be read; the problems of the others are added."""
    found = []
    for name in manifests.names(kind):
        try:
            found.append(read(name, manifests=manifests))
        except InvalidDocument as error:
            problems.extend(error.problems)
    return tuple(found)
