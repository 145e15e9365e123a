from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.components.base import COMPONENT, NEEDED
from bundler.components.registry.settings import parse_settings as registry_settings
from bundler.steps.step import Goal, Step
from tests import goals
from tests.bundles import TinyBundle
from tests.content import make_deb, make_image

IMAGES = {name: make_image({"x": b"x"}) for name in ("docker.io/library/x:1", "registry.example:5000/team/app:1.0")}
MakeGoal = Callable[..., Goal]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """A release with what base needs, and images of two registries."""
    debs = tuple(make_deb(name) for name in (*NEEDED, "curl"))
    return goals.release(tmp_path_factory.mktemp("release"), debs=debs, images=IMAGES)


@pytest.fixture
def make_goal(tiny: TinyBundle) -> MakeGoal:
    """A goal of a site of three hosts, two of them site hosts; `components` is YAML in flow style."""
    parsers = {"base": COMPONENT.settings, "registry": registry_settings}

    def make(components: str = "{}", site: str = goals.SITE) -> Goal:
        return goals.goal_of(tiny, parsers, text=f"{site}components: {components}\n")

    return make


@pytest.fixture
def goal(make_goal: MakeGoal) -> Goal:
    return make_goal()


def step(name: str) -> Step:
    return next(each for each in COMPONENT.steps if each.name == f"base/{name}")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name; `BUNDLE_GOLDEN=write` writes them, for a reader to judge."""
    import os

    folder = Path(__file__).parent / "golden"

    def compare(name: str, text: str) -> None:
        if os.environ.get("BUNDLE_GOLDEN") == "write":
            (folder / name).write_text(text)
        assert text == (folder / name).read_text()

    return compare
