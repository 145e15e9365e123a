"""Package archives for apt, one for each archive role and release.

`apt/<archive>/dists/<release>` holds the indexes, `apt/<archive>/pool/<ab>/<sha256>/<file>` the packages: the same
file name may have other bytes in another release. `build_apt` makes all but Release and InRelease; `sign_apt` makes
these two, anew at every switch, because apt ignores an InRelease older than the one it has.
(Format: the Debian wiki, DebianRepository/Format.)
"""

import os
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path

from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.sitenames import COMPONENT, check_site_names, site_archive
from bundler.model.statement import DebArtifact
from bundler.signing.openpgp import clear_sign, public_armored, public_binary
from bundler.store.blobs import BlobStore
from bundler.support.files import read_file, write_file
from bundler.views.tree import Tree, lines

ORIGIN = "bundle"
ALL = "all"
KEY = "key"  # apt/<archive>/key.asc and key.pgp


def build_apt(target: Path, debs: Iterable[DebArtifact], store: BlobStore) -> None:
    """Make the pools and Packages files of `apt/` in the generation `target`.

    Raises NameConflict for one package file with two contents in an archive's release, StaleLink, CannotWrite.
    """
    tree = Tree(target)
    listed = tuple(debs)
    check_site_names(debs=((deb.archive, deb.release, deb.name, deb.digest) for deb in listed))
    releases: dict[tuple[str, str], dict[str, DebArtifact]] = {}
    for deb in listed:
        releases.setdefault((site_archive(deb.archive), deb.release), {})[deb.name] = deb
    for (archive, release), packages in sorted(releases.items()):
        # A host asks every archive of its release for its own architecture, where there is none of it too.
        architectures = {deb.architecture for deb in listed if deb.release == release} - {ALL} or {ALL}
        debs = [packages[name] for name in sorted(packages)]
        _build_release(tree, archive, release, debs, architectures=architectures, store=store)


def _build_release(
    tree: Tree, archive: str, release: str, debs: list[DebArtifact], *, architectures: set[str], store: BlobStore
) -> None:
    stanzas = {deb.name: _publish(tree, archive, deb, store) for deb in debs}
    for architecture in sorted(architectures):
        folder = f"apt/{archive}/dists/{release}/{COMPONENT}/binary-{architecture}"
        packages = b"\n".join(stanzas[deb.name] for deb in debs if deb.architecture in (architecture, ALL))
        tree.write(f"{folder}/Packages", packages)
        tree.link(f"{folder}/by-hash/SHA256/{Digest.of(packages).hex}", tree.root / folder / "Packages")


def _publish(tree: Tree, archive: str, deb: DebArtifact, store: BlobStore) -> bytes:
    """Put the package into the pool and give its stanza."""
    place = f"pool/{deb.digest.hex[:2]}/{deb.digest.hex}/{deb.name}"
    size = tree.blob(f"apt/{archive}/{place}", store, deb.digest)
    control = store.read(deb.control, limit=LIMITS.metadata).rstrip(b"\n")
    return control + f"\nFilename: {place}\nSize: {size}\nSHA256: {deb.digest.hex}\n".encode()


def sign_apt(target: Path, key: bytes, date: datetime) -> None:
    """Write Release and InRelease of every release in the generation `target`, and the public key beside them.

    `key` is the armored secret key; `date` must be later, by a second at least, than any date signed before. Each
    file is replaced as a whole, so a generation that is in use may be signed again. Raises CannotWrite.
    """
    archives = set()
    tree = Tree(target)
    found: dict[str, list[str]] = {}
    for path in tree.paths(f"apt/*/dists/*/{COMPONENT}/binary-*/Packages"):
        found.setdefault("/".join(path.split("/")[:4]), []).append(path)
    for folder, indexes in sorted(found.items()):
        _, archive, _, release = folder.split("/")
        text = _release_text(target / folder, archive, release, [target / path for path in indexes], date)
        _write_dated(target / folder / "Release", text, date)
        _write_dated(target / folder / "InRelease", clear_sign(key, text), date)
        archives.add(archive)
    for archive in sorted(archives):
        write_file(target / "apt" / archive / f"{KEY}.asc", public_armored(key))
        write_file(target / "apt" / archive / f"{KEY}.pgp", public_binary(key))


def _release_text(folder: Path, archive: str, release: str, indexes: list[Path], date: datetime) -> bytes:
    contents = {path.relative_to(folder).as_posix(): read_file(path, limit=LIMITS.document) for path in indexes}
    architectures = sorted(path.parent.name.removeprefix("binary-") for path in indexes)
    fields = {
        "Origin": ORIGIN,
        "Label": f"{ORIGIN} {archive}",
        "Suite": release,
        "Codename": release,
        "Date": format_datetime(date, usegmt=True),
        "Architectures": " ".join(architectures),
        "Components": COMPONENT,
        "Acquire-By-Hash": "yes",
    }
    sums = (f" {Digest.of(data).hex} {len(data):>16} {name}" for name, data in sorted(contents.items()))
    return lines((*(f"{name}: {value}" for name, value in fields.items()), "SHA256:", *sums))


def _write_dated(path: Path, data: bytes, date: datetime) -> None:
    """apt asks with If-Modified-Since: the file's time must grow with the signed date, also twice in one second."""
    write_file(path, data)
    os.utime(path, (date.timestamp(), date.timestamp()))
