"""The goal: packages by the release of the system that they are for."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import NotCarried
from bundler.steps.facts import PackageFact
from bundler.steps.step import Goal
from tests.bundles import tiny_bundle
from tests.goals import goal_of


@pytest.fixture
def goal(tmp_path: Path) -> Goal:
    settings: Mapping[str, Any] = {}
    return goal_of(tiny_bundle(tmp_path), settings)


def test_each_release_of_the_system_has_its_own_version(goal: Goal) -> None:
    (deb,) = goal.lock.debs
    both = replace(goal, lock=replace(goal.lock, debs=(deb, replace(deb, release="noble", version="2.12-1"))))
    (fact,) = both.packages("base", "hello").packages
    assert fact == PackageFact(package="hello")
    assert fact.versions == (("bookworm", "1:2.10-3"), ("noble", "2.12-1"))


def test_all_that_is_not_carried_is_named(goal: Goal) -> None:
    with pytest.raises(NotCarried) as caught:
        goal.packages("base", "hello", "jq", "curl")
    assert caught.value.missing == ("package jq", "package curl")
