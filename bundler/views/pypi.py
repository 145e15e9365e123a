"""A package index: PEP 503 pages with their JSON twins (PEP 691, 700) and METADATA files (PEP 658, 714).

A wheel lies at `pypi/files/<its sha256>/<file>`, so that a path never changes its content. All URLs are relative.
"""

import email.parser
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.model.statement import WheelArtifact
from bundler.store.blobs import BlobStore
from bundler.views.tree import Tree

API_VERSION = "1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One wheel on its project's page; `size` in bytes, `requires_python` empty where METADATA has none."""

    wheel: WheelArtifact
    size: int
    requires_python: str

    @property
    def url(self) -> str:
        return f"../../files/{self.wheel.digest.hex}/{quote(self.wheel.name, safe='')}"


def normalised(project: str) -> str:
    """A project's name as its page is called (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def build_pypi(target: Path, wheels: Iterable[WheelArtifact], store: BlobStore) -> None:
    """Make `pypi/` in the generation `target`. Raises StaleLink, CannotWrite, and what the store raises."""
    tree = Tree(target)
    listed = [_publish(tree, wheel, store) for wheel in sorted(wheels, key=_order)]
    projects = []
    for project, group in groupby(listed, key=lambda each: normalised(each.wheel.project)):
        projects.append(project)
        found = list(group)
        tree.write(f"pypi/simple/{project}/index.html", _project_page(project, found))
        tree.write(f"pypi/simple/{project}/index.json", canonical.dump(_project_json(project, found)))
    tree.write("pypi/simple/index.html", _root_page(projects))
    root = {"meta": {"api-version": API_VERSION}, "projects": [{"name": project} for project in projects]}
    tree.write("pypi/simple/index.json", canonical.dump(root))


def _order(wheel: WheelArtifact) -> tuple[str, str]:
    return normalised(wheel.project), wheel.name


def _publish(tree: Tree, wheel: WheelArtifact, store: BlobStore) -> Listed:
    place = f"pypi/files/{wheel.digest.hex}/{wheel.name}"
    size = tree.blob(place, store, wheel.digest)
    tree.blob(f"{place}.metadata", store, wheel.metadata)
    metadata = store.read(wheel.metadata, limit=LIMITS.metadata)
    return Listed(wheel=wheel, size=size, requires_python=requires_python(metadata))


def requires_python(metadata: bytes) -> str:
    """The Requires-Python header of a METADATA file (core metadata specification), or nothing."""
    head = re.split(rb"\r?\n\r?\n", metadata, maxsplit=1)[0]
    found = email.parser.BytesHeaderParser().parsebytes(head).get("Requires-Python", "")
    return " ".join(str(found).split())[: LIMITS.name]


def _root_page(projects: list[str]) -> bytes:
    return _page("Simple index", (f'<a href="{project}/">{project}</a><br>' for project in map(html.escape, projects)))


def _project_page(project: str, listed: list[Listed]) -> bytes:
    return _page(f"Links for {project}", map(_anchor, listed))


def _anchor(each: Listed) -> str:
    metadata = f"sha256={each.wheel.metadata.hex}"
    attributes = {
        "href": f"{each.url}#sha256={each.wheel.digest.hex}",
        "data-core-metadata": metadata,
        "data-dist-info-metadata": metadata,
    }
    if each.requires_python:
        attributes["data-requires-python"] = each.requires_python
    written = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<a {written}>{html.escape(each.wheel.name)}</a><br>"


def _page(title: str, anchors: Iterable[str]) -> bytes:
    body = "\n".join(anchors)
    return (
        f'<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n<title>{html.escape(title)}</title>\n'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    ).encode()


def _project_json(project: str, listed: list[Listed]) -> dict[str, Any]:
    return {
        "meta": {"api-version": API_VERSION},
        "name": project,
        "versions": sorted({each.wheel.version for each in listed}),
        "files": [_file_json(each) for each in listed],
    }


def _file_json(each: Listed) -> dict[str, Any]:
    metadata = {"sha256": each.wheel.metadata.hex}
    found: dict[str, Any] = {
        "filename": each.wheel.name,
        "url": each.url,
        "hashes": {"sha256": each.wheel.digest.hex},
        "size": each.size,
        # Not its old name `dist-info-metadata`: there pip before 23.1, Debian 12's too, ends on an object (PEP 714).
        "core-metadata": metadata,
        "yanked": False,
    }
    if each.requires_python:
        found["requires-python"] = each.requires_python
    return found
