import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import InvalidDocument, Malformed
from bundler.model import nodes
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader, parse_integer
from bundler.model.limits import LIMITS


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(InvalidDocument) as caught:
        Reader(file="x.yaml").yaml(text)
    assert {problem.file for problem in caught.value.problems} == {"x.yaml"}
    return [(problem.line, problem.found) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "0 documents"),
        ("# nothing\n", 1, "0 documents"),
        ("a", 1, "'a'"),
        ("\n- a\n", 2, "a list"),
        ("a: 1\n---\nb: 2\n", 3, "2 documents"),
        ("a: 1\nb: &x 2\n", 2, "an anchor or alias"),
        ("a: 1\nb: *x\n", 2, "an anchor or alias"),
        ("a: 1\n\nb: &x\n  c: 1\n", 3, "an anchor or alias"),
        ("a: 1\nb: !!str 2\n", 2, "the tag 'tag:yaml.org,2002:str'"),
        (
            "a: 1\nb: !!python/object/apply:os.system [id]\n",
            2,
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: 1\nb: !local {}\n", 2, "the tag '!local'"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' twice"),
        ('a: 1\n"\\x61": 3\n', 2, "the key 'a' twice"),
        ("a: 1\n? [b]\n: 2\n", 2, "a list as a key"),
        ("a: 1\n? {b: c}\n: 2\n", 2, "a mapping as a key"),
        ("a: [1\nb: 2\n", 2, None),
        ("a: 1\n\tb: 2\n", 2, None),
        ("a: 1\nb: 'c\n", 3, None),
        ("a: 1\nb: \0\n", 2, "the character '\\x00'"),
        ("a: 1\nb: 2\nc: \x7f\n", 3, "the character '\\x7f'"),
        ("a: 1\nb: \x1b[2J\n", 2, "the character '\\x1b'"),
        ("a: 1\nb: \ud800\n", 2, "half of a surrogate pair"),
        ("a:\n  b: " + "[" * 10_000, 2, "a document too deep or too long"),
        ("a: 1\nb: " + "{x: " * 10_000, 2, "a document too deep or too long"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_not_plain_yaml(text: str, line: int, found: str | None) -> None:
    """None: the words are the YAML parser's."""
    ((at, what),) = problems(text)
    assert at == line
    assert found is None or what == found


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "LIMITS", type(LIMITS)(document=100, nodes=20, depth=5))
    assert problems("a: " + "x" * 100) == [(1, "103 characters")]
    assert problems("a:\n" + "- b\n" * 20) == [(17, "a document too deep or too long")]
    assert problems("a: [[[[[1]]]]]") == [(1, "a document too deep or too long")]


def read(fields: Fields) -> object:
    """A reader of one of everything."""
    return fields.build(
        dict,
        version=fields.text("version"),
        digest=fields.value("digest", Digest.parse),
        number=fields.integer("number"),
        flag=fields.flag("flag", default=False),
        names=fields.values("names", str, optional=True),
        inner=fields.nested("inner", lambda inner: inner.build(dict, a=inner.integer("a")), default={"a": 0}),
        list=fields.each("list", lambda each: each.text("name"), optional=True, name=str),
    )


def whole(text: str) -> object:
    reader = Reader(file="x.yaml")
    value = reader.yaml(text).whole(read)
    reader.finish()
    return value


GOOD = f"version: 3.10\ndigest: sha256:{'0' * 64}\nnumber: 7\n"


def test_a_scalar_is_its_text() -> None:
    value = whole(
        GOOD
        + "flag: true\nnames: [3.10, yes, null, ~, 0x10, 2024-01-01, '', \"\\u00e9\"]\ninner: {a: 1}\nlist: [name: x]\n"
    )
    assert value == {
        "version": "3.10",
        "digest": Digest("0" * 64),
        "number": 7,
        "flag": True,
        "names": ("3.10", "yes", "null", "~", "0x10", "2024-01-01", "", "é"),
        "inner": {"a": 1},
        "list": ("x",),
    }
    assert whole(GOOD) == whole(GOOD + "flag: false\nnames: []\ninner: {a: 0}\nlist: []\n")


def test_every_problem_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        whole(
            "version: [3]\n"
            "digest: md5:0\n"
            "number: -1\n"
            "flag: yes\n"
            "names: {}\n"
            "unknown: 1\n"
            "inner:\n"
            "  a: 1e3\n"
            "  b: 2\n"
            "list:\n"
            "- name: x\n"
            "- nam: y\n"
            "- z\n"
            "- name: x\n"
            "- name: {}\n"
        )
    found = [(problem.line, problem.found) for problem in caught.value.problems]
    assert found == [
        (1, "a list at 'version'"),
        (2, "'md5:0' at 'digest'"),
        (3, "'-1' at 'number'"),
        (4, "'yes' at 'flag'"),
        (5, "a mapping at 'names'"),
        (6, "the unknown key 'unknown'"),
        (8, "'1e3' at 'inner.a'"),
        (9, "the unknown key 'inner.b'"),
        (12, "no key 'list[1].name'"),
        (12, "the unknown key 'list[1].nam'"),
        (13, "'z' at 'list[2]'"),
        (14, "x a second time"),
        (15, "a mapping at 'list[4].name'"),
    ]
    assert str(caught.value).startswith(
        "13 problems in x.yaml\nx.yaml:1: found a list at 'version', expected a single value"
    )


@pytest.mark.parametrize("key", ["version", "digest", "number"])
def test_missing(key: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        whole("".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(key)))
    assert [problem.found for problem in caught.value.problems] == [f"no key '{key}'"]


def test_findings_are_bounded() -> None:
    with pytest.raises(InvalidDocument) as caught:
        whole(GOOD + "".join(f"k{number}: 1\n" for number in range(500)))
    assert len(caught.value.problems) == LIMITS.problems


def test_what_a_value_refuses_is_a_problem_of_its_mapping() -> None:
    def refuse() -> object:
        raise Malformed(found="this", expected="that")

    reader = Reader(file="x.yaml")
    assert reader.yaml("a: 1").whole(lambda fields: fields.build(refuse) if fields.has("a") else 0) is None
    with pytest.raises(InvalidDocument, match=r"x\.yaml:1: found this, expected that"):
        reader.finish()


@pytest.mark.parametrize("text", ["0", "7", "9007199254740991"])
def test_integers(text: str) -> None:
    assert parse_integer(text) == int(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "01", "0x1", "1_000", "1.0", "1e3", "９", "9007199254740992", "9" * 5000, " 1", "1\n"]
)
def test_no_integers(text: str) -> None:
    with pytest.raises(Malformed):
        parse_integer(text)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"[]", "a list"),
        (b"null", "''"),
        (b'{"a":1,"a":2}', "the key 'a' twice"),
        (b"{", "Expecting"),
        (b"\xff", "'utf-8'"),
    ],
)
def test_no_json_object(data: bytes, found: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        Reader(file="x.json").json(data)
    assert caught.value.problems[0].found.startswith(found)


def test_json_scalars_are_their_text() -> None:
    fields = Reader(file="x.json").json(b'{"a":[1,true,false,null,"x",{"b":"c"}]}')
    assert fields.table == nodes.Table(
        {
            "a": nodes.Sequence(
                (
                    *(nodes.Scalar(text, 1) for text in ("1", "true", "false", "", "x")),
                    nodes.Table({"b": nodes.Scalar("c", 1)}, 1),
                ),
                1,
            )
        },
        1,
    )


@given(st.text(st.sampled_from("ab:-?[]{}&*!|>'\"%@#,\n\t ") | st.characters()))
def test_total(text: str) -> None:
    try:
        fields = Reader(file="x.yaml").yaml(text)
    except InvalidDocument as error:
        found = [problem.line for problem in error.problems]
    else:
        found = [fields.line]
    lines = sum(text.count(mark) for mark in "\n\r\x85\u2028\u2029") + 1
    assert all(1 <= line <= lines + 1 for line in found)
