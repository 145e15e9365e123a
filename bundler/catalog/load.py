"""Finding profiles and component manifests: `MANIFESTS/profiles/NAME.yaml`, `MANIFESTS/components/NAME.yaml`."""

from dataclasses import dataclass
from pathlib import Path

from bundler.errors import InvalidDocument, NotReadable, Problem
from bundler.model.limits import LIMITS
from bundler.model.profile import Component, Profile, parse_component, parse_profile
from bundler.support.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A profile with the components that it chooses; `files` is the folder of `file:` URLs."""

    profile: Profile
    components: tuple[Component, ...]
    files: Path


def load(profile: str, *, manifests: Path) -> Declared:
    """`profile` is a name below `manifests`, or the path of a file in some `MANIFESTS/profiles/` folder.

    Raises NotReadable, and InvalidDocument with the problems of all files at once.
    """
    path = Path(profile)
    if path.suffix in (".yaml", ".yml") or "/" in profile:
        manifests = path.resolve().parent.parent
    else:
        path = manifests / "profiles" / f"{profile}.yaml"
    chosen = parse_profile(read_text(path, limit=LIMITS.document), file=str(path))
    components: list[Component] = []
    problems: list[Problem] = []
    for name in chosen.components:
        try:
            components.append(_component(manifests / "components" / f"{name}.yaml", name))
        except InvalidDocument as error:
            problems.extend(error.problems)
        except NotReadable as error:
            problems.append(Problem(file=str(path), line=1, found=error.summary, expected=f"the component {name}"))
    if problems:
        raise InvalidDocument(problems=tuple(problems))
    return Declared(profile=chosen, components=tuple(components), files=manifests / "files")


def _component(path: Path, name: str) -> Component:
    component = parse_component(read_text(path, limit=LIMITS.document), file=str(path))
    if component.name != name:
        problem = Problem(file=str(path), line=1, found=f"component: {component.name}", expected=f"component: {name}")
        raise InvalidDocument(problems=(problem,))
    return component
