"""Every image name in what Helm, kubectl and kubeadm print, wherever it hides. Pure: text in, uses out."""

import base64
import binascii
import re
import zlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from bundler.closure.pairs import in_pairs
from bundler.closure.shape import Named, expanded, name_of
from bundler.closure.text import in_text
from bundler.closure.tree import Budget, Number, Tree, documents
from bundler.closure.use import Certainty, Found, Place, Use
from bundler.closure.where import At
from bundler.errors import InvalidDocument, Malformed
from bundler.model.limits import LIMITS
from bundler.model.reference import Reference

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_READ = ("image", "imagePullPolicy", "name", "env")  # of a container, by then
_PROSE = frozenset(("description", "summary", "message", "example", "examples", "title", "notes"))
_FLAG = re.compile(r"--?(?P<key>[A-Za-z][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)
_NESTING = 60  # levels within which a text is still read as a document


def scan(text: str, *, source: str) -> tuple[Use, ...]:
    """The uses of a stream of YAML documents, each once a place. Raises InvalidDocument for what is no YAML."""
    return _scan(text, source=source, found=Found.FIELD)


def scan_chart_sources(values: str, *, source: str, rendered: Iterable[Use]) -> tuple[Use, ...]:
    """The images of a chart's values.yaml that no render used: switches that were off. Guesses, all of them."""
    seen = [use.reference for use in rendered if use.reference]
    names, whole = {each.name for each in seen}, {str(each) for each in seen}
    found = ((use, use.reference) for use in _scan(values, source=source, found=Found.VALUES))
    return tuple(
        use
        for use, reference in found
        if reference and (str(reference) not in whole if _tagged(use.text) else reference.name not in names)
    )


def _tagged(text: str) -> bool:
    named = name_of(text)
    return named is not None and named.tagged


def _scan(text: str, *, source: str, found: Found) -> tuple[Use, ...]:
    walk = _Walk(Budget(source=source))
    for document in documents(text, walk.budget):
        walk.tree(document.root, At(place=Place(source=document.source), found=found))
    return tuple(walk.uses.values())


class _Walk:
    """One walk over all documents of a source, and what it found so far."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.uses: dict[tuple[Place, str], Use] = {}

    def add(self, named: Named, certainty: Certainty, at: At, *, policy: object = "") -> None:
        certainty = Certainty.GUESS if at.found is Found.VALUES or at.off else certainty
        if at.secret and certainty is Certainty.GUESS:
            return  # it might be a password
        use = Use(
            text=named.text,
            reference=named.reference,
            place=at.place,
            found=at.found,
            certainty=certainty,
            computed=named.computed,
            pull_policy=policy if isinstance(policy, str) else "",
        )
        self._keep(use)

    def _keep(self, use: Use) -> None:
        self.budget.spend()
        before = self.uses.get((use.place, use.image))
        if before is None or before.certainty < use.certainty:
            self.uses[use.place, use.image] = use

    def tree(self, node: Tree, at: At) -> None:
        self.budget.spend()
        if isinstance(node, dict):
            self._object(node, at.object(node))
        elif isinstance(node, list):
            self._list(node, at)
        elif isinstance(node, str):
            self._text(node, at)

    def _object(self, node: dict[str, Any], at: At) -> None:
        kind = node.get("kind") if "apiVersion" in node else None
        if kind == "CustomResourceDefinition":
            self._schema(node, at)
        elif kind in ("ConfigMap", "Secret"):
            self._data(node, at, found=Found.SECRET if kind == "Secret" else Found.CONFIG_MAP)
        else:
            self._mapping(node, at)

    def _data(self, node: dict[str, Any], at: At, *, found: Found) -> None:
        for key, part in node.items():
            encoded = key == "binaryData" or (key == "data" and found is Found.SECRET)
            if isinstance(part, dict) and key in ("data", "stringData", "binaryData"):
                texts = {name: _decoded(text) if encoded else text for name, text in part.items()}
                self._mapping(texts, at.down(key, found=found), prose=())
            else:
                self._mapping({key: part}, at)

    def _schema(self, node: Tree, at: At) -> None:
        """Of a CRD only the defaults count: descriptions and examples name images that nobody pulls."""
        self.budget.spend()
        if isinstance(node, list):
            for number, each in enumerate(node):
                self._schema(each, at.item(number))
        if not isinstance(node, dict):
            return
        for key, each in node.items():
            if key == "properties" and isinstance(each, dict):
                below = at.down(key, found=Found.DEFAULT)
                parts = {name: part for name, part in each.items() if isinstance(part, dict)}
                self._mapping({name: part["default"] for name, part in parts.items() if "default" in part}, below)
                for name, part in parts.items():
                    self._schema(part, below.down(name))
            elif key not in ("default", "enum", *_PROSE):
                self._schema(each, at.down(key))

    def _mapping(self, node: dict[str, Any], at: At, *, prose: Container[str] = _PROSE) -> None:
        """Fields, those first that name an image together. Texts under keys of `prose` are for people."""
        if node.get("enabled") is False:
            at = replace(at, off=True)
        texts = {key: text or "" for key, text in node.items() if text is None or isinstance(text, str)}
        policy = node.get("imagePullPolicy") or node.get("pullPolicy")
        named = self._pairs(texts, at, policy=policy)
        for key, each in node.items():
            below = at.down(key)
            if "/" in key and (":" in key or "@" in key):
                self._text(key, below)
            if key in _CONTAINERS and isinstance(each, list):
                self._containers(each, below)
            elif key == "volumes" and isinstance(each, list):
                self._volumes(each, below)
            elif key in ("annotations", "labels") and isinstance(each, dict):
                self._mapping(each, at.down(key, found=Found.ANNOTATION))
            elif key not in named and not (key in prose and isinstance(each, str)):
                self.tree(each, below)

    def _pairs(self, texts: Mapping[str, str], at: At, *, policy: object = "") -> set[str]:
        """Add the images of these pairs; gives the keys that named one."""
        named: set[str] = set()
        for hit in in_pairs(texts, under_image=at.under > 0):
            named.update(hit.keys)
            self.add(hit.named, hit.certainty, at.down(hit.keys[0]), policy=policy)
        return named

    def _containers(self, items: list[Tree], at: At) -> None:
        for number, node in enumerate(items):
            here = at.item(number)
            if not isinstance(node, dict):
                self.tree(node, here)
                continue
            image = node.get("image")
            if isinstance(image, str) and image:
                below = here.down("image", found=Found.POD)
                self._pulled(image, below, policy=node.get("imagePullPolicy"))
            self._container(node, here)

    def _pulled(self, text: str, at: At, *, policy: object) -> None:
        """A field that the kubelet reads: whatever it holds is an image, or is wrong."""
        certainty = Certainty.CERTAIN if at.workload else Certainty.LIKELY
        named = name_of(text)
        try:
            reference = Reference.parse(text)
        except Malformed:
            reference = None
        use = Use(
            text=text[:300] if reference or named or not at.secret else "(not shown)",
            reference=reference,
            place=at.place,
            found=at.found,
            certainty=certainty,
            computed=reference is None and named is not None and named.computed,
            pull_policy=policy if isinstance(policy, str) else "",
        )
        self._keep(use if at.found is not Found.VALUES else replace(use, certainty=Certainty.GUESS))

    def _container(self, node: dict[str, Any], at: At) -> None:
        """All of a container but its image. What its environment says fills the holes in its arguments."""
        variables: dict[str, str] = {}
        env = node.get("env")
        for name, value in filter(None, map(_variable, env if isinstance(env, list) else ())):
            variables[name] = expanded(value, variables)
        self._variables(variables, at.down("env", found=Found.ENVIRONMENT))
        for key, each in node.items():
            if key in ("command", "args") and isinstance(each, list):
                filled = [expanded(item, variables) if isinstance(item, str) else item for item in each]
                self._list(filled, at.down(key, found=Found.ARGUMENT))
            elif not isinstance(each, list if key == "env" else str) or key not in _READ:
                self.tree(each, at.down(key))

    def _variables(self, variables: Mapping[str, str], at: At) -> None:
        named = self._pairs(variables, at)
        for name, value in variables.items():
            if name not in named:
                self._text(value, at.down(name))

    def _volumes(self, items: list[Tree], at: At) -> None:
        """Volumes; an image volume (Kubernetes 1.31) is pulled like a container's image."""
        for number, node in enumerate(items):
            here = at.item(number)
            image = node.get("image") if isinstance(node, dict) else None
            if isinstance(image, dict) and isinstance(image.get("reference"), str):
                below = here.down("image").down("reference", found=Found.VOLUME)
                self._pulled(image["reference"], below, policy=image.get("pullPolicy"))
            else:
                self.tree(node, here)

    def _list(self, items: list[Tree], at: At) -> None:
        """A list: named values as pairs, texts as arguments, the rest as it comes."""
        variables: dict[str, str] = {}
        for name, value in filter(None, map(_variable, items)):
            variables[name if name not in variables else f"{name} {len(variables)}"] = value
        self._variables(variables, at)
        named = self._arguments(items, at)
        for number, each in enumerate(items):
            if number not in named and not _variable(each):
                self.tree(each, at.item(number))

    def _arguments(self, items: list[Tree], at: At) -> set[int]:
        """`--image=X`, `--image X`, or (under a key that says images) the items; gives those that named one."""
        pairs: dict[str, str] = {}
        numbers: dict[str, int] = {}
        for number, item in enumerate(items):
            flag = _FLAG.fullmatch(item) if isinstance(item, str) else None
            following = items[number + 1] if number + 1 < len(items) else None
            if flag:
                key = flag["key"] if flag["key"] not in pairs else f"{flag['key']} {number}"
                value = flag["value"] if flag["value"] is not None else following
                if isinstance(value, str) and (flag["value"] is not None or not value.startswith("-")):
                    pairs[key], numbers[key] = value, number + (flag["value"] is None)
            elif at.under and isinstance(item, str):
                pairs[f"[{number}]"], numbers[f"[{number}]"] = item, number
        named: set[int] = set()
        for hit in in_pairs(pairs, under_image=at.under > 0):
            named.update(numbers[key] for key in hit.keys)
            self.add(hit.named, hit.certainty, at.item(numbers[hit.keys[0]]))
        return named

    def _text(self, text: str, at: At) -> None:
        """A text: a document within the document, or lines."""
        if isinstance(text, Number) or len(text) < 3:
            return
        lines = "\n" in text
        if (lines or text.lstrip()[:1] in ("{", "[")) and at.depth < _NESTING:
            try:
                roots = [each.root for each in documents(text, self.budget)]
            except InvalidDocument:
                roots = []
            if any(isinstance(root, (dict, list)) for root in roots):
                for root in roots:
                    self.tree(root, replace(at, workload=False))
                return
        for number, named, certainty in in_text(text, self.budget):
            self.add(named, certainty, at.line(number) if lines else at)


def _variable(node: Tree) -> tuple[str, str] | None:
    """`{name: X, value: Y}`, as in env and in the parameters of many custom resources (there also `default`)."""
    if not isinstance(node, dict) or not node.keys() <= {"name", "value", "default", "description", "type"}:
        return None
    name, value = node.get("name"), node.get("value", node.get("default"))
    return (name, value) if isinstance(name, str) and isinstance(value, str) else None


def _decoded(text: object) -> str:
    """Base64 as Secrets and binaryData have it; gzip inside it is opened, up to a bound. Not text: empty."""
    try:
        data = base64.b64decode(text, validate=False) if isinstance(text, str) else b""
        if data[:2] == b"\x1f\x8b":
            data = zlib.decompressobj(31).decompress(data, LIMITS.metadata)
        return data.decode()
    except (binascii.Error, zlib.error, UnicodeError, ValueError):
        return ""
