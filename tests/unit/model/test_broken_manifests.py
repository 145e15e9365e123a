"""Broken manifests: every problem of a file at once, each with its line, and nothing but problems."""

import re
from collections.abc import Callable

import pytest

from bundler.errors import InvalidDocument
from bundler.model.component_parser import parse_component
from bundler.model.profile import parse_profile
from tests.manifests import Broken, broken

PARSERS: dict[str, Callable[..., object]] = {"components": parse_component, "profiles": parse_profile}
CASES = [*broken("components"), *broken("profiles")]


def problems_of(kind: str, text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        PARSERS[kind](text, file="m.yaml")
    return [str(problem).removeprefix("m.yaml:") for problem in caught.value.problems]


def test_the_table_is_large_and_each_case_its_own() -> None:
    assert len(CASES) >= 180
    assert len({(case.kind, case.title) for case in CASES}) == len(CASES)
    assert len({(case.kind, case.text) for case in CASES}) == len(CASES)
    assert sum(len(case.problems) > 3 for case in CASES) >= 6


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken(case: Broken) -> None:
    assert case.problems
    assert problems_of(case.kind, case.text) == list(case.problems)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_secret_is_shown(case: Broken) -> None:
    assert not [problem for problem in problems_of(case.kind, case.text) if re.search("secret|u:p@", problem)]


HOSTILE = {
    "a NUL": ("component: x\nabout: a\0b\n", "2: found the character '\\x00', expected YAML"),
    "an escape character": ("component: \x1b[2Jx\n", "1: found the character '\\x1b', expected YAML"),
    "half of a surrogate pair": ("component: x\nabout: \udcff\n", "2: found half of a surrogate pair, expected YAML"),
    "a NUL by escape": ('component: "x\\0"\n', None),
    "a line separator": ('component: x\nabout: "a\\u2028b"\n', None),
    "a text that turns around": ('component: x\nabout: "a\\u202eb"\n', None),
    "brackets without end": ("component: " + "[" * 100_000, "1: found a document too deep or too long, expected less"),
    "braces without end": ("component: " + "{a: " * 100_000, "1: found a document too deep or too long, expected less"),
    "lists that grow": (
        "a0: &a0 [x, x]\n" + "".join(f"a{at + 1}: &a{at + 1} [*a{at}, *a{at}]\n" for at in range(20)),
        "1: found an anchor or alias, expected plain YAML without them",
    ),
    "a word of a megabyte": (f"component: {'x' * 1_000_000}\n", None),
    "a version of a megabyte": (f"component: x\nprovides: {{x: '{'1' * 1_000_000}'}}\n", None),
    "a URL of a megabyte": (f"component: x\nfiles: [{{name: a, url: 'https://a.com/{'x' * 1_000_000}'}}]\n", None),
    "an image of a megabyte": (f"component: x\nimages: ['{'a/' * 500_000}b:1']\n", None),
    "a number of a megabyte": (
        f"component: x\ncharts: [{{chart: a, repository: 'https://example.com', values: {{n: {'1' * 1_000_000}}}}}]\n",
        None,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    """A bounded answer, and what it shows is printable: it ends on a terminal."""
    text, expected = HOSTILE[name]
    problems = problems_of("components", text)
    if expected:
        assert problems == [expected]
    assert len(problems) == 1
    assert all(problem.isprintable() and len(problem) < 400 for problem in problems)


@pytest.mark.parametrize("end", ["x", ":x", "_x", ".x", "e", "-"])
def test_a_long_value_that_is_almost_a_number_takes_no_time(end: str) -> None:
    value = "1" * 200_000 + end
    text = f"component: x\ncharts: [{{chart: a, repository: 'https://example.com', values: {{n: {value}}}}}]\n"
    assert parse_component(text, file="m.yaml").content.charts[0].values == f'{{"n":"{value}"}}'


@pytest.mark.parametrize("kind", PARSERS)
def test_no_more_than_a_hundred_problems(kind: str) -> None:
    """The first hundred: nobody reads more, and a file may have millions."""
    text = "".join(f"key{at}: 1\n" for at in range(500))
    assert len(problems_of(kind, text)) == 100


def test_a_document_beyond_its_bound() -> None:
    text = "component: x\n#" + "x" * (64 << 20)
    assert problems_of("components", text) == ["1: found 67108878 characters, expected at most 67108864"]


@pytest.mark.parametrize("kind", PARSERS)
def test_names_in_messages_are_printable(kind: str) -> None:
    problems = problems_of(kind, '"\\e[31mred": 1\n"two\\nlines": 2\n')
    assert all(problem.isprintable() for problem in problems)
