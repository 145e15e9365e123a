import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.secret import MASK, Secret

TEXT = "correct horse battery"
SECRET = Secret(TEXT)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    name: str
    secret: Secret


HOLDER = Holder(name="of", secret=SECRET)
list_of_it = [SECRET]


def raised() -> str:
    try:
        raise ValueError(SECRET, HOLDER)
    except ValueError:
        return traceback.format_exc()


def logged() -> str:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "it is %s and %r", (SECRET, HOLDER), None)
    return logging.Formatter().format(record)


@pytest.mark.parametrize(
    "render",
    [
        lambda: repr(SECRET),
        lambda: str(SECRET),
        lambda: f"{SECRET} {SECRET!r} {SECRET!s} {SECRET:>40} {HOLDER}",
        lambda: "{}".format(SECRET),  # noqa: UP032
        lambda: "%s %r" % (SECRET, HOLDER),  # noqa: UP031
        lambda: repr([SECRET, {"x": SECRET}, (SECRET,)]),
        lambda: pprint.pformat({"a": [SECRET, HOLDER]}),
        lambda: str(dataclasses.asdict(HOLDER)),
        lambda: str(dataclasses.astuple(HOLDER)),
        lambda: str(dataclasses.replace(HOLDER, name="other")),
        lambda: json.dumps({"x": SECRET, "y": dataclasses.asdict(HOLDER)}, default=str),
        raised,
        logged,
    ],
)
def test_it_renders_masked(render: Callable[[], str]) -> None:
    text = render()
    assert MASK in text
    assert TEXT not in text


@pytest.mark.parametrize(
    "leak",
    [
        lambda: json.dumps(SECRET),
        lambda: json.dumps({"x": dataclasses.asdict(HOLDER)}),
        lambda: json.dumps({SECRET: 1}),
        lambda: yaml.dump(SECRET),
        lambda: yaml.safe_dump({"x": SECRET}),
        lambda: pickle.dumps(SECRET),
        lambda: pickle.dumps(HOLDER),
        SECRET.__getstate__,
        lambda: "".join(list_of_it),  # type: ignore[arg-type]
        lambda: "a" + SECRET,  # type: ignore[operator]
        lambda: SECRET + "a",  # type: ignore[operator]
        lambda: vars(SECRET),
        lambda: list(SECRET),  # type: ignore[call-overload]
        lambda: bytes(SECRET),  # type: ignore[call-overload]
    ],
)
def test_what_would_show_it_refuses(leak: Callable[[], object]) -> None:
    with pytest.raises((TypeError, yaml.YAMLError)) as caught:
        leak()
    assert TEXT not in str(caught.value)


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        SECRET._text = "other"
    with pytest.raises(AttributeError):
        del SECRET._text
    with pytest.raises(AttributeError):
        SECRET.other = 1
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy(SECRET) is SECRET


@given(st.lists(st.tuples(st.text(), st.booleans())))
def test_joined(parts: list[tuple[str, bool]]) -> None:
    joined = Secret.of(*(Secret(text) if hidden else text for text, hidden in parts))
    assert joined.reveal() == "".join(text for text, _ in parts)
    assert repr(joined) == MASK


@given(st.text(st.characters()), st.text(st.characters()))
def test_equality(one: str, other: str) -> None:
    """Also of texts with lone surrogates, which no encoding takes as they are."""
    assert Secret(one) == Secret(one)
    assert hash(Secret(one)) == hash(Secret(one))
    assert (Secret(one) == Secret(other)) is (one == other)
    assert Secret(one) != one
