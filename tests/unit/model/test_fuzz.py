"""Whatever the bytes: a value, or an error of ours. Never a traceback, never a hang."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BundleError
from bundler.model.component_parser import parse_component
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.model.profile import parse_profile
from bundler.model.statement import write_statement
from bundler.model.statement_parser import parse_statement
from tests.bundles import ALICE, tiny_bundle
from tests.unit.model.test_component import COMPONENT
from tests.unit.model.test_profile import PROFILE

TEXT_PARSERS = [parse_lock, parse_profile, parse_component]
PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "0",
    "-1",
    "1e9",
    "null",
    "~",
    "&a ",
    "*a",
    "!t ",
    "|",
    ">",
    "\0",
    "\x7f",
    "\ud800",
    "é",
    "../",
    "%",
    "@",
    "#",
]
mutations = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(PIECES) | st.text(max_size=3)),
    min_size=1,
    max_size=4,
)


def mutated(text: str, changes: list[tuple[float, int, str]]) -> str:
    """The text with pieces of it, each at a part of its length, replaced."""
    for where, count, piece in changes:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + count :]
    return text


def total(parse: Callable[..., Any], value: Any, **options: Any) -> None:
    try:
        shown = repr(parse(value, **options))
    except BundleError as error:
        shown = f"{error.exit_code} {error.summary} {error.detail} {error.hint}"
    assert shown.encode()


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, str]:
    bundle = tiny_bundle(tmp_path_factory.mktemp("fuzz"), keys=(ALICE,))
    return {
        parse_lock: write_lock(bundle.lock),
        parse_profile: PROFILE,
        parse_component: COMPONENT,
        parse_statement: write_statement(bundle.statement).decode(),
    }


@pytest.mark.parametrize("parse", TEXT_PARSERS)
@given(text=st.text())
def test_any_text(parse: Callable[..., Any], text: str) -> None:
    total(parse, text, file="x")


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes(data: bytes) -> None:
    total(parse_statement, data, path="x")


@pytest.mark.parametrize("parse", TEXT_PARSERS)
@given(changes=mutations)
def test_mutated_text(
    documents: dict[Any, str], parse: Callable[..., Any], changes: list[tuple[float, int, str]]
) -> None:
    total(parse, mutated(documents[parse], changes), file="x")


@given(changes=mutations)
def test_mutated_statement(documents: dict[Any, str], changes: list[tuple[float, int, str]]) -> None:
    before = documents[parse_statement]
    after = mutated(before, changes)
    data = after.encode("utf-8", "surrogatepass")
    total(parse_statement, data, path="x")
    # What is taken comes back as the very same bytes.
    try:
        assert write_statement(parse_statement(data, path="x")) == data
    except BundleError:
        assert after != before
