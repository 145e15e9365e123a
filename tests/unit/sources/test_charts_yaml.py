"""YAML of others: what is read, what is refused, and that neither takes long."""

import time
from typing import Any

import pytest

from bundler.errors import InvalidDocument, Malformed
from bundler.model.chart import chart_meta, dependencies_of
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence
from bundler.sources.chart_yaml import read_yaml

INDEX = b"""apiVersion: v1
x: &x {entries: {web: [wrong]}}
entries:
  other: [{version: 1}, [[deep]], *x]
  web: &web
  - {version: 1.10, also: &y yes}
  - version: *y
  ? after
  : *web
"""


def plain(node: Node | None) -> Any:
    if isinstance(node, Scalar) or node is None:
        return node.text if node else None
    if isinstance(node, Sequence):
        return [plain(each) for each in node.items]
    return {key: plain(value) for key, value in node.pairs.items()}


def test_one_part_of_an_index() -> None:
    web = [{"version": "1.10", "also": "yes"}, {"version": "yes"}]
    assert plain(read_yaml(INDEX, file="i", below=("entries", "web"))) == web
    assert read_yaml(INDEX, file="i", below=("entries", "nothing")) is None
    assert plain(read_yaml(b'{"entries": {"web": [1]}}', file="i", below=("entries", "web"))) == ["1"]


def test_aliases_are_what_they_stand_for() -> None:
    assert plain(read_yaml(b"a: &x {b: 1}\nc: [*x, *x]\n", file="i")) == {"a": {"b": "1"}, "c": [{"b": "1"}] * 2}


def bomb(levels: int) -> bytes:
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, levels)]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (bomb(9), 7, f"more than {LIMITS.nodes} values"),
        (b"a: *nothing\n", 1, "the alias 'nothing'"),
        (b"a: &a [*a]\n", 1, "the alias 'a'"),
        (b"[" * 100, 1, f"nesting deeper than {LIMITS.depth}"),
        (b"a: 1\nb: 2\na: 3\n", 3, "the key 'a' twice"),
        (b"[a]: b\n", 1, "a collection as a key"),
        (b"a: [\n", 2, "did not find expected node content"),
        (b"a: \x01\n", 1, "unacceptable character"),
        (b"a: \xff\n", 1, "unacceptable character"),
        (b"", 1, "no document"),
        (b"--- 1\n--- 2\n", 2, "a second document"),
        (b"a" * (LIMITS.document + 1), 1, f"{LIMITS.document + 1} bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(data: bytes, line: int, found: str) -> None:
    start = time.monotonic()
    with pytest.raises(InvalidDocument) as caught:
        read_yaml(data, file="i")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, found in problem.found) == ("i", line, True), problem
    assert time.monotonic() - start < 5


def meta(text: str) -> Any:
    node = read_yaml(text.encode(), file="Chart.yaml")
    assert node is not None
    return chart_meta(node)


def test_metadata_is_what_helm_has_of_it() -> None:
    found = meta(
        "name: web\nversion: 1.2.3\nappVersion: 1.10\nunknown: {a: 1}\nkeywords: [a, 2]\nhome:\nicon: ~\n"
        "deprecated: true\nmaintainers: [{name: A, extra: 1}]\nannotations: {a: '1\n\n  2', b: true}\n"
        'description: "two\\nlines\\a"\ndependencies: [{name: x, version: 2.0, repository: "https://a.example/"}]\n'
    )
    assert (found.name, found.version, found.api) == ("web", "1.2.3", "v1")
    assert [(each.name, each.version, each.repository) for each in found.dependencies] == [
        ("x", "2", "https://a.example")
    ]
    assert found.text == (
        '{"annotations":{"a":"1\\n2","b":"true"},"apiVersion":"v1","appVersion":"1.1",'
        '"dependencies":[{"name":"x","repository":"https://a.example/","version":"2"}],"deprecated":true,'
        '"description":"two lines","keywords":["a","2"],"maintainers":[{"name":"A"}],"name":"web","version":"1.2.3"}'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("version: 1", "a Chart.yaml without name"),
        ("name: a", "a Chart.yaml without version"),
        ("[a]", "a list for Chart.yaml"),
        ("name: [a]", "a list for name"),
        ("name: a\nversion: {b: 1}", "a mapping for version"),
        ("name: a\nversion: 1\nkeywords: b", "'b' for keywords"),
        ("name: a\nversion: 1\ndeprecated: maybe", "'maybe' for deprecated"),
        ("name: a\nversion: 1\nmaintainers: [b]", "'b' for maintainers"),
        ("name: a\nversion: 1\nannotations: [b]", "a list for annotations"),
        ("name: a\nversion: 1\ndependencies: [{version: 1}]", "a dependency without a name"),
    ],
)
def test_metadata_that_helm_does_not_read(text: str, found: str) -> None:
    with pytest.raises(Malformed) as caught:
        meta(text)
    assert caught.value.found == found


def test_dependencies_of_other_documents() -> None:
    node = read_yaml(b"dependencies:\n- {name: a, repository: 'file://../a'}\ndigest: x\n", file="requirements.yaml")
    assert node is not None
    assert [(each.name, each.version, each.repository) for each in dependencies_of(node)] == [("a", "", "file://../a")]
