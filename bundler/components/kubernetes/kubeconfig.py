"""A kubeconfig that was given to us: whole in itself, so that it works on another machine than the one it is from."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from bundler.errors import InvalidDocument, Malformed, Problem
from bundler.model.document import Reader
from bundler.model.nodes import Node, Scalar, Sequence, Table, read_yaml
from bundler.model.secret import Secret

_FLAT = "what `kubectl config view --minify --flatten --raw` writes"
# Keys that name files of the machine that it is from, or programs there.
_ELSEWHERE = {
    "certificate-authority": _FLAT,
    "client-certificate": _FLAT,
    "client-key": _FLAT,
    "tokenFile": "the token itself",
    "exec": "a token, or a certificate and its key: the site's hosts do not have that program",
    "auth-provider": "a token, or a certificate and its key",
    "username": "a token, or a certificate and its key",
    "proxy-url": "a server that is reached without a proxy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """The cluster and the user of its current context; certificates are PEM. `insecure`: whoever answers is taken for
    the server. `name` is what the server's certificate is for, where that is not the host of `server`."""

    server: str
    ca: str = ""
    certificate: str = ""
    key: Secret
    token: Secret
    insecure: bool = False
    name: str = ""


def check_kubeconfig(content: str, file: str) -> None:
    """Raises InvalidDocument with every problem, which quotes nothing of the content."""
    parse_kubeconfig(content, file=file)


def parse_kubeconfig(content: str, *, file: str) -> Kubeconfig:
    """Raises InvalidDocument."""
    reader = Reader(file=file)
    try:
        root = read_yaml(reader, content)
        reader.finish()
    except (InvalidDocument, Malformed) as error:
        # What it quotes may be a key.
        line = error.problems[0].line if isinstance(error, InvalidDocument) else 1
        raise _wrong(file, line, "no plain YAML", "a kubeconfig") from None
    for listing in ("clusters", "contexts", "users"):
        items = root.pairs.get(listing) if isinstance(root, Table) else None
        if not isinstance(items, Sequence) or len(items.items) != 1:
            # Credentials of other clusters would travel along.
            raise _wrong(file, root.line if items is None else items.line, f"not one of {listing!r}", _FLAT)
    context = _entry(root, "contexts", "context", _text(root, "current-context"))
    cluster = _entry(root, "clusters", "cluster", _text(context, "cluster"))
    user = _entry(root, "users", "user", _text(context, "user"))
    if cluster is None or user is None:
        raise _wrong(file, 1, "no cluster and user of `current-context`", _FLAT)
    problems = [*_elsewhere(file, cluster), *_elsewhere(file, user), *_incomplete(file, cluster, user)]
    if problems:
        raise InvalidDocument(problems=tuple(sorted(problems, key=lambda problem: problem.line)))
    return Kubeconfig(
        server=_text(cluster, "server"),
        ca=_decoded(cluster, "certificate-authority-data") or "",
        certificate=_decoded(user, "client-certificate-data") or "",
        key=Secret(_decoded(user, "client-key-data") or ""),
        token=Secret(_text(user, "token")),
        insecure=_text(cluster, "insecure-skip-tls-verify") == "true",
        name=_text(cluster, "tls-server-name"),
    )


def _wrong(file: str, line: int, found: str, expected: str) -> InvalidDocument:
    return InvalidDocument(problems=(Problem(file=file, line=line, found=found, expected=expected),))


def _elsewhere(file: str, part: Table) -> Iterator[Problem]:
    for key, expected in _ELSEWHERE.items():
        node = part.pairs.get(key)
        if node is not None and not (isinstance(node, Scalar) and node.text in ("", "null")):
            yield Problem(file=file, line=node.line, found=f"the key {key!r}", expected=expected)


def _incomplete(file: str, cluster: Table, user: Table) -> Iterator[Problem]:
    url = urlsplit(_text(cluster, "server"))
    if url.scheme != "https" or not url.hostname:
        yield Problem(file=file, line=cluster.line, found="a cluster without `server: https://…`", expected="one")
    for part, key in (
        (cluster, "certificate-authority-data"),
        (user, "client-certificate-data"),
        (user, "client-key-data"),
    ):
        if _decoded(part, key) is None:
            yield Problem(file=file, line=part.line, found=f"{key} that is not base64 of PEM", expected="PEM in base64")
    pair = [_text(user, f"client-{name}-data") for name in ("certificate", "key")]
    if not _text(user, "token") and not all(pair) and not any(key in user.pairs for key in _ELSEWHERE):
        expected = "a token, or a certificate and its key"
        yield Problem(file=file, line=user.line, found="a user with nothing to prove who it is", expected=expected)


def _entry(root: Node | None, listing: str, kind: str, name: str) -> Table | None:
    """The one of `name` in a list of {name, KIND}."""
    items = root.pairs.get(listing) if isinstance(root, Table) else None
    for item in items.items if isinstance(items, Sequence) else ():
        if isinstance(item, Table) and name and _text(item, "name") == name:
            found = item.pairs.get(kind)
            return found if isinstance(found, Table) else None
    return None


def _text(node: Node | None, key: str) -> str:
    found = node.pairs.get(key) if isinstance(node, Table) else None
    return found.text if isinstance(found, Scalar) else ""


def _decoded(part: Table, key: str) -> str | None:
    """PEM; None where something else is there."""
    try:
        found = base64.b64decode("".join(_text(part, key).split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return found if not found or "-----BEGIN " in found else None
