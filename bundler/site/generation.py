"""Generations: one folder with all views of one release, made whole under another name, then switched to by one
rename of the symlink `ROOT/current`."""

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.profile import Release
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.openpgp import create_apt_key
from bundler.signing.trust import Accepted
from bundler.site.fronts import FRONT
from bundler.store.blobs import BlobStore
from bundler.support import files
from bundler.views.apt import build_apt, sign_apt
from bundler.views.carry import carry_over
from bundler.views.charts import build_charts
from bundler.views.files import build_files
from bundler.views.pypi import build_pypi
from bundler.views.registry import build_registry

CURRENT = "current"
GENERATIONS = "generations"
EVIDENCE = "statement"  # the folder of a generation with the signed statement that it was made from
HALF, BROKEN = ".half", ".broken"  # names of what is not whole


def name_of(statement: Statement) -> str:
    """Release and content: what a killed installation left under a number is never taken for other content."""
    return _name(statement.release, statement.content)


def _name(release: Release, content: Digest) -> str:
    return f"{release.line}-{release.number}-{content.hex[:12]}"


def release_of(folder: Path, known: Mapping[str, tuple[int, Digest]]) -> tuple[Release, Digest]:
    """The release and the content of a generation's folder. `known` has the highest of each line (the site's state):
    an older one is asked for its statement. Raises MalformedStatement, NotReadable."""
    for line, (number, content) in known.items():
        release = Release(line=line, number=number)
        if folder.name == _name(release, content):
            return release, content
    path = folder / EVIDENCE / "bundle.json"
    statement = parse_statement(files.read_file(path, limit=LIMITS.document), path=str(path))
    return statement.release, statement.content


def current(root: Path) -> Path | None:
    """The folder of the generation in use, or None before the first installation."""
    link = root / CURRENT
    return link.resolve() if link.is_symlink() and link.exists() else None


def build(
    root: Path,
    accepted: Accepted,
    data: bytes,
    store: BlobStore,
    *,
    date: datetime,
    anew: bool = False,
    front: bytes = b"",
) -> Path:
    """Make the generation of a release, complete and on the disk, and give its folder; nothing uses it yet.

    `data` are the statement's signed bytes, kept as evidence, and so is its `front`, with all signatures. A generation
    that a killed installation left whole is used again, unless it is wanted `anew`; a half one has another name and is
    thrown away.
    """
    folder = root / GENERATIONS / name_of(accepted.statement)
    previous = current(root)
    with files.writing(folder):
        if anew or not folder.exists():
            half = folder.with_name(HALF)
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            half.chmod(0o755)
            _fill(half, accepted, data, store, front)
            files.sync_filesystem(half)
            _replace(folder, half)
        clear_halves(folder)
        if previous is not None and previous != folder:
            carry_over(previous, folder)
        sign_apt(folder, _apt_key(root), date)
        files.sync_filesystem(folder)
    return folder


def clear_halves(folder: Path) -> None:
    """What a killed process left half written in a whole generation: of what is signed anew, and of what is carried."""
    for place in (folder, *folder.glob("apt/*"), *folder.glob("apt/*/dists/*")):
        files.clear_halves(place)


def _replace(folder: Path, half: Path) -> None:
    """The new one under the name, the old one gone; where the system can, in one step, for it may be in use."""
    if folder.exists() and files.exchange(half, folder):
        shutil.rmtree(half, ignore_errors=True)
        return
    broken = folder.with_name(BROKEN)
    shutil.rmtree(broken, ignore_errors=True)
    if folder.exists():
        folder.rename(broken)
    half.rename(folder)
    shutil.rmtree(broken, ignore_errors=True)


def switch(root: Path, folder: Path) -> None:
    """Make `folder` the current generation, in one rename."""
    beside = root / f".{CURRENT}.new"
    with files.writing(root / CURRENT):
        beside.unlink(missing_ok=True)
        beside.symlink_to(folder.relative_to(root))
        beside.rename(root / CURRENT)
        files.sync_directory(root)


def _fill(folder: Path, accepted: Accepted, data: bytes, store: BlobStore, front: bytes) -> None:
    statement = accepted.statement
    build_registry(folder, statement.artifacts, store)
    build_pypi(folder, statement.wheels, store)
    build_charts(folder, statement.charts, store)
    build_apt(folder, statement.debs, store)
    build_files(folder, statement.files, store)
    evidence = folder / EVIDENCE
    evidence.mkdir()
    evidence.chmod(0o755)
    files.write_file(evidence / "bundle.json", data)
    for keyid, signature in accepted.signatures.items():
        files.write_file(evidence / f"bundle.json.{keyid}.sig", signature)
    if front:
        files.write_file(evidence / FRONT, front)


def _apt_key(root: Path) -> bytes:
    """The site's own OpenPGP key; its secret never leaves the site. One that was put there, because several hosts serve
    one site, is used as it is; else it is made at the first need."""
    path = root / "keys" / "apt.secret.asc"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        files.write_file(path, create_apt_key("Package archives of this site"), mode=0o600)
    return files.read_file(path, limit=1 << 20)
