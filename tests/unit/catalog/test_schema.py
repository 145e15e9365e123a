"""The schemas say what the parsers say, as far as a schema can."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bundler.catalog.schema import write_schema
from bundler.errors import InvalidDocument
from bundler.model.component_parser import parse_component
from bundler.model.document import Reader
from bundler.model.nodes import Node, Scalar, Sequence, read_yaml
from bundler.model.profile import parse_profile
from tests.lab import ROOT
from tests.manifests import Broken, broken

PARSERS = {"components": parse_component, "profiles": parse_profile}
VALIDATORS = {
    kind: Draft202012Validator(json.loads(write_schema(kind.removesuffix("s")))) for kind in ("components", "profiles")
}
SHIPPED = sorted((ROOT / "manifests").glob("*/*.yaml"))
CASES = [*broken("components"), *broken("profiles")]

# What a schema cannot say: two entries that clash, what plain YAML words mean, grammars that are no one expression.
PARSER_ONLY = {
    "a file's name twice",
    "a further archive twice",
    "a provided version at the top and in a version",
    "a silence twice",
    "a tool in a file of somebody else",
    "a tool in a file that one version lacks",
    "an image at the top and in a version",
    "one image twice by two names",
    "one release twice",
    "two charts under one release",
    *("a doubtful value", "a doubtful value in a variant", "a value .inf", "a value 0644", "a value 0x1F"),
    *("a value 1e3", "a value Off", "a value beyond 2^53", "a value in base sixty", "a value that is a date"),
    *("a value with underscores", "a value yes", "a number with a zero before it"),
    *("an image in upper case", "an image without its tag", "an image's id", "a port that is none", "an image by URL"),
    "an unknown hole in a package's name",
}


def as_editor(node: Node) -> Any:
    """A document as an editor sees it: YAML 1.2's core schema."""
    if isinstance(node, Sequence):
        return [as_editor(item) for item in node.items]
    if not isinstance(node, Scalar):
        return {key: as_editor(child) for key, child in node.pairs.items()}
    words = {"true": True, "false": False, "null": None, "": None, "~": None}
    if not node.plain:
        return node.text
    if node.text in words:
        return words[node.text]
    if re.fullmatch(r"[-+]?[0-9]+", node.text):
        return int(node.text)
    return float(node.text) if re.fullmatch(r"[-+]?[0-9]*\.[0-9]+", node.text) else node.text


def judged(kind: str, text: str) -> list[str]:
    instance = as_editor(read_yaml(Reader(file="m.yaml"), text))
    return [error.message for error in VALIDATORS[kind].iter_errors(instance)]


def is_yaml(case: Broken) -> bool:
    try:
        Reader(file="m.yaml").yaml(case.text)
    except InvalidDocument:
        return False
    return True


@pytest.mark.parametrize("kind", ["component", "profile"])
def test_the_files_are_the_schemas(kind: str) -> None:
    text = write_schema(kind)
    Draft202012Validator.check_schema(json.loads(text))
    assert (ROOT / "manifests" / "schema" / f"{kind}.json").read_text() == text


@pytest.mark.parametrize("kind", ["component", "profile"])
def test_everything_has_a_description(kind: str) -> None:
    """It is what an editor shows."""

    def walk(schema: dict[str, Any], path: str) -> list[str]:
        bare = [] if schema.get("description") or "$ref" in schema else [path]
        for name, child in schema.get("properties", {}).items():
            bare += walk(child, f"{path}.{name}")
        for each in (*schema.get("anyOf", ()), *schema.get("$defs", {}).values()):
            bare += walk(each, f"{path}|")
        if isinstance(schema.get("items"), dict):
            bare += walk(schema["items"], f"{path}[]")
        return bare

    assert walk(json.loads(write_schema(kind)), kind) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_manifests(path: Any) -> None:
    text = path.read_text()
    assert judged(path.parent.name, text) == []
    kind = path.parent.name.removesuffix("s")
    assert text.startswith(f"# yaml-language-server: $schema=../schema/{kind}.json\n")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_manifests(case: Broken) -> None:
    """What the parser refuses the schema refuses; what it does not is listed above, and nothing else is."""
    if not is_yaml(case):
        with pytest.raises(InvalidDocument):
            PARSERS[case.kind](case.text, file="m.yaml")
        return
    assert bool(judged(case.kind, case.text)) == (case.title not in PARSER_ONLY)


def test_the_list_of_exceptions_is_of_cases() -> None:
    assert {case.title for case in CASES} >= PARSER_ONLY


@pytest.mark.parametrize("kind", ["components", "profiles"])
def test_the_keys_are_the_parser_s(kind: str) -> None:
    """The parser names all keys that it knows when it meets one that it does not."""
    with pytest.raises(InvalidDocument) as caught:
        PARSERS[kind]("unknown: 1\n", file="m.yaml")
    known = {problem.expected for problem in caught.value.problems if "unknown" in problem.found}
    assert known == {", ".join(sorted(json.loads(write_schema(kind.removesuffix("s")))["properties"]))}
