import dataclasses
import inspect
import types
import typing
from collections import Counter
from contextlib import contextmanager

import pytest

from bundler import errors
from bundler.errors import BundleError, InvalidDocument, Problem
from tests import errors_table

CLASSES = errors_table.classes()
# Each module has its decade; 2 is what click exits with for its own usage errors, and Usage means the same.
RANGES = {
    "bundler.errors.input": range(10, 20),
    "bundler.errors.network": range(20, 30),
    "bundler.errors.trust": range(30, 40),
    "bundler.errors.bundle": range(40, 50),
    "bundler.errors.disk": range(50, 55),
    "bundler.errors.chain": range(55, 60),
    "bundler.errors.site": range(60, 70),
    "bundler.errors.closure": range(70, 80),
    "bundler.errors.vendor": range(80, 90),
    "bundler.errors.hosts": range(90, 100),
    "bundler.errors.push": range(100, 110),
    "bundler.errors.volumes": range(110, 115),
    "bundler.errors.generations": range(115, 125),
}
FACTS = {
    str: "fact",
    int: 3,
    float: 1.5,
    float | None: None,
    tuple[str, ...]: ("one", "two"),
    tuple[tuple[str, str], ...]: (("name", "why"),),
    tuple[tuple[str, tuple[str, ...]], ...]: (("entry", ("artifact",)), ("other", ())),
    tuple[tuple[str, tuple[str, ...], str], ...]: (("entry", ("artifact",), "file"), ("other", (), "file")),
    tuple[Problem, ...]: (Problem(file="x", line=7, found="this", expected="that"),),
}


def example(error: type[BundleError]) -> BundleError:
    """An instance; a new kind of fact has to be added to FACTS, and be one that cannot change."""
    hints = typing.get_type_hints(error)
    return error(**{field.name: FACTS[hints[field.name]] for field in dataclasses.fields(error)})  # type: ignore[arg-type]


@pytest.mark.parametrize("error", CLASSES)
def test_words_come_from_facts(error: type[BundleError]) -> None:
    made = example(error)
    for text in (made.summary, made.detail, made.hint):
        assert isinstance(text, str)
        assert "\n\n" not in text
        assert text == text.strip()
        assert not text.startswith("None")
    assert len(made.summary.splitlines()) == 1
    said = made.summary + made.detail + made.hint
    facts = [getattr(made, field.name) for field in dataclasses.fields(made)]  # type: ignore[arg-type]
    assert any(str(fact) in said or not isinstance(fact, (str, int)) for fact in facts)
    assert str(made) == "\n".join(filter(None, (made.summary, made.detail)))


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_is_one_object(error: type[BundleError]) -> None:
    """Not equal to another with the same facts, and free to carry a traceback through a context manager."""
    made = example(error)
    assert made != example(error)
    assert len({made, example(error)}) == 2

    @contextmanager
    def passing():
        yield

    with pytest.raises(error) as caught, passing():
        raise made
    assert caught.value is made


def test_exit_codes() -> None:
    codes = Counter(error.exit_code for error in CLASSES)
    assert [code for code, count in codes.items() if count > 1] == []
    assert all(0 < code < 126 for code in codes)  # 126 and above are the shell's
    for error in CLASSES:
        expected = (2,) if error is errors.Usage else RANGES[error.__module__]
        assert error.exit_code in expected, error


def test_all_are_exported_and_documented() -> None:
    exported = {name: getattr(errors, name) for name in errors.__all__}
    assert {error.__name__ for error in CLASSES} | {"BundleError", "Problem"} == set(exported)
    assert sorted(errors.__all__) == errors.__all__
    for error in CLASSES:
        doc = inspect.getdoc(error) or ""
        assert doc.endswith("."), error
        assert not doc.startswith(f"{error.__name__}("), error  # what dataclass writes where there is none


def test_facts_are_immutable() -> None:
    """The classes themselves cannot be frozen: Python sets the traceback of an exception as an attribute."""
    for error in CLASSES:
        for hint in typing.get_type_hints(error).values():
            assert typing.get_origin(hint) in (None, tuple, types.UnionType, typing.ClassVar), error


def test_the_page_is_that_of_the_classes() -> None:
    assert errors_table.PAGE.read_text() == errors_table.page(), "run: python -m tests.errors_table"


def test_a_base_error_must_be_worded() -> None:
    with pytest.raises(NotImplementedError):
        str(BundleError())


@pytest.mark.parametrize(("count", "summary"), [(1, "1 problem in x"), (2, "2 problems in x, y")])
def test_problems(count: int, summary: str) -> None:
    problems = tuple(Problem(file=file, line=3, found="a", expected="b") for file in "yx"[-count:])
    error = InvalidDocument(problems=problems)
    assert error.summary == summary
    assert error.detail.splitlines()[0] == f"{problems[0].file}:3: found a, expected b"


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        (400, False),
        (401, False),
        (404, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (501, False),
        (502, True),
        (503, True),
        (505, False),
    ],
)
def test_what_another_attempt_may_cure(status: int, transient: bool) -> None:
    assert errors.HttpFailure(url="u", status=status).transient is transient
