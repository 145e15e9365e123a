"""The images that Kubernetes' and Ceph's own installers bring up by themselves."""

import ast
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bundler.closure.shape import by_shape
from bundler.errors import Malformed, NeedsUnknown
from bundler.model.limits import LIMITS
from bundler.model.reference import Reference
from bundler.support.run import run

_TIMEOUT = 60.0  # seconds


def kubeadm_images(kubeadm: Path, *, version: str) -> tuple[str, ...]:
    """What `kubeadm config images list` of this program names for `v1.36.3`. Raises NeedsUnknown.

    With the version given it has nothing to ask of the network. Its list is one that no chart renders: static pods,
    CoreDNS, kube-proxy and the pause image.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-kubeadm.") as home:
        outcome = run(
            [str(kubeadm), "config", "images", "list", "--kubernetes-version", f"v{version.removeprefix('v')}"],
            needed_for="the list of Kubernetes' own images",
            timeout=_TIMEOUT,
            environment={**{name: None for name in os.environ if name.lower().endswith("_proxy")}, "HOME": home},
            directory=Path(home),
        )
    images = tuple(line.strip() for line in outcome.stdout.splitlines() if line.strip())
    if outcome.code or not images or not all(map(_is_image, images)):
        raise NeedsUnknown(program=kubeadm.name, output=outcome.tail())
    return images


def cephadm_images(program: bytes) -> tuple[str, ...]:
    """The default images in cephadm's source: a script (to Ceph 17) or a zipapp (from 18). Raises NeedsUnknown.

    `DEFAULT_IMAGE = …`, `DEFAULT_GRAFANA_IMAGE = …` up to Ceph 19, the members of `class DefaultImages` from 20 on.
    """
    found: dict[str, None] = {}
    try:
        for source in _sources(program):
            found.update(dict.fromkeys(_defaults(ast.parse(source))))
    except (zipfile.BadZipFile, SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
        raise NeedsUnknown(program="cephadm", output=str(error)[:300]) from error
    if not found:
        raise NeedsUnknown(program="cephadm", output="no default image in its source")
    return tuple(found)


def _sources(program: bytes) -> Iterator[str]:
    if not zipfile.is_zipfile(io.BytesIO(program)):
        yield program.decode()
        return
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        left = LIMITS.document
        for member in archive.infolist():
            if not member.filename.endswith(".py") or b"IMAGE" not in (data := _member(archive, member, left)).upper():
                continue
            left -= len(data)
            yield data.decode()


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> bytes:
    with archive.open(member) as stream:
        data = stream.read(left + 1)
    if len(data) > left:
        raise ValueError("its archive is too large")
    return data


def _defaults(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            text = node.value.value
            if (
                isinstance(text, str)
                and any(n.startswith("DEFAULT_") and n.endswith("IMAGE") for n in names)
                and _is_image(text)
            ):
                yield text
        elif isinstance(node, ast.ClassDef) and node.name == "DefaultImages":
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and by_shape(part.value):
                    yield part.value


def _is_image(text: str) -> bool:
    try:
        Reference.parse(text)
    except Malformed:
        return False
    return True
