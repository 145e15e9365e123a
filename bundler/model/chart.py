"""A chart's metadata (Chart.yaml), as Helm's own type holds it: known keys, text where text belongs."""

import json
import re
from dataclasses import dataclass
from typing import Any

from bundler.errors import Malformed
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence, Table, kind_of
from bundler.model.values import check_values, json_of

_TEXTS = ("apiVersion", "appVersion", "condition", "description", "home", "icon", "kubeVersion", "name", "tags", "type",
          "version")  # fmt: skip
_LISTS = ("keywords", "sources")
_NULLS = ("", "~", "null", "Null", "NULL")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A chart that belongs into `charts/`. `repository` is empty, `file://PATH`, http(s), `oci://`, or an alias."""

    name: str
    version: str
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartMeta:
    """`text` is the metadata as JSON text, in the form of `check_values`: what Helm stores as an OCI config."""

    name: str
    version: str
    api: str
    dependencies: tuple[Dependency, ...]
    text: str


def chart_meta(node: Node) -> ChartMeta:
    """Raises Malformed for what Helm would not read, or without a name and a version."""
    values = metadata_of(node)
    for key in ("name", "version"):
        if not values.get(key):
            raise Malformed(found=f"a Chart.yaml without {key}", expected="one with name and version")
    return ChartMeta(
        name=values["name"],
        version=values["version"],
        api=values["apiVersion"],
        dependencies=tuple(_dependency(each) for each in values.get("dependencies", ())),
        text=check_values(json.dumps(values, sort_keys=True, separators=(",", ":"))),
    )


def dependencies_of(node: Node) -> tuple[Dependency, ...]:
    """Those of a requirements.yaml, a Chart.lock or a requirements.lock. Raises Malformed."""
    found = _dependencies(_table(node, "the document").pairs.get("dependencies"))
    return tuple(_dependency(each) for each in found)


def _dependency(values: dict[str, Any]) -> Dependency:
    return Dependency(
        name=values["name"], version=values.get("version", ""), repository=values["repository"].rstrip("/")
    )


def metadata_of(node: Node) -> dict[str, Any]:
    """The keys that Helm knows, those without a value left out. Raises Malformed."""
    pairs = _table(node, "Chart.yaml").pairs
    found: dict[str, Any] = {key: _text(pairs.get(key), key) for key in _TEXTS}
    found["apiVersion"] = found["apiVersion"] or "v1"
    found |= {key: [_text(each, key) for each in _items(pairs.get(key), key)] for key in _LISTS}
    found["maintainers"] = [
        _filled({key: _text(_table(each, "maintainers").pairs.get(key), key) for key in ("name", "email", "url")})
        for each in _items(pairs.get("maintainers"), "maintainers")
    ]
    found["annotations"] = _texts(pairs.get("annotations"), "annotations")
    found["deprecated"] = _flag(pairs.get("deprecated"), "deprecated")
    found["dependencies"] = _dependencies(pairs.get("dependencies"))
    return _filled(found)


def _dependencies(node: Node | None) -> list[dict[str, Any]]:
    found = []
    for each in _items(node, "dependencies"):
        pairs = _table(each, "dependencies").pairs
        values: dict[str, Any] = {key: _text(pairs.get(key), key) for key in ("name", "version", "condition", "alias")}
        if not values["name"]:
            raise Malformed(found="a dependency without a name", expected="one")
        values |= {
            "tags": [_text(tag, "tags") for tag in _items(pairs.get("tags"), "tags")],
            "enabled": _flag(pairs.get("enabled"), "enabled"),
            "import-values": [
                json.loads(json_of(child)) for child in _items(pairs.get("import-values"), "import-values")
            ],
        }
        found.append({**_filled(values), "repository": _text(pairs.get("repository"), "repository")})
    return found


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _table(node: Node, key: str) -> Table:
    if not isinstance(node, Table):
        raise Malformed(found=f"{kind_of(node)} for {key}", expected="a mapping")
    return node


def _items(node: Node | None, key: str) -> tuple[Node, ...]:
    if node is None or _is_null(node):
        return ()
    if not isinstance(node, Sequence):
        raise Malformed(found=f"{kind_of(node)} for {key}", expected="a list")
    return node.items


def _texts(node: Node | None, key: str) -> dict[str, str]:
    if node is None or _is_null(node):
        return {}
    return {name: _text(child, key, clean=False) for name, child in _table(node, key).pairs.items()}


def _flag(node: Node | None, key: str) -> bool:
    text = _text(node, key).lower()
    if text not in ("", "true", "false"):
        raise Malformed(found=f"{text[:40]!r} for {key}", expected="true or false")
    return text == "true"


def _text(node: Node | None, key: str, *, clean: bool = True) -> str:
    """Helm reads an unquoted 1.10 as the number 1.1, also where a version is meant; and it takes out what is not
    printable, but for annotations."""
    if node is None or _is_null(node):
        return ""
    if not isinstance(node, Scalar):
        raise Malformed(found=f"{kind_of(node)} for {key}", expected="text")
    if node.plain and len(node.text) <= LIMITS.name and _FLOAT.fullmatch(node.text):
        return repr(float(node.text)).removesuffix(".0")
    if not clean:
        return node.text
    return "".join(" " if mark.isspace() else mark for mark in node.text if mark.isspace() or mark.isprintable())


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in _NULLS
