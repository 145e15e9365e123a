"""docs/catalog.md: its examples are manifests, and it leaves no key out."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bundler.catalog.schema import write_schema
from bundler.model.component import Component
from bundler.model.component_parser import parse_component
from bundler.model.profile import Profile, parse_profile
from tests.lab import ROOT

TEXT = (ROOT / "docs" / "catalog.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def parsed() -> Iterator[Component | Profile]:
    for at, example in enumerate(EXAMPLES):
        parse = parse_profile if "\nprofile:" in "\n" + example else parse_component
        yield parse(example, file=f"example {at}")


def test_the_examples_are_manifests() -> None:
    shop, whole, cache, mine = parsed()
    assert isinstance(shop, Component)
    assert isinstance(whole, Component)
    content = whole.content
    for each in (content.images, content.charts, content.wheels, content.packages, content.files, content.tools):
        assert each
    assert isinstance(cache, Component)
    assert [version for version, _ in cache.versions] == ["7.0", "8.2"]
    assert isinstance(mine, Profile)
    assert mine.packages[1].also[0].suite == "ubuntu2204/x86_64/"


@pytest.mark.parametrize("kind", ["component", "profile"])
def test_no_key_is_left_out(kind: str) -> None:
    def keys(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return {key for each in schema for key in keys(each)}
        if not isinstance(schema, dict):
            return set()
        return set(schema.get("properties", {})) | {key for each in schema.values() for key in keys(each)}

    named = set(re.findall(r"`([a-z_]+)`", TEXT)) | set(re.findall(r"\b([a-z_]+):", "".join(EXAMPLES)))
    assert keys(json.loads(write_schema(kind))) - named == set()
