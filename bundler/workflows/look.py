"""`bundle inspect` and `bundle extract`: what a file holds, and one thing out of it. Neither proves the whole."""

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.form import bundle_layout
from bundler.archive.layout import Layout, Place
from bundler.archive.oci import SYNTHESISED
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent, Malformed, NoSuchArtifact, Unsupported, Usage
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.statement import BLOB_PREFIX, Artifact, ImageArtifact, Statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust, check_signers, judge
from bundler.support import files
from bundler.verify.carried import check_carried
from bundler.verify.check import layout_of, thread_buffer

LOCK_NAME = "images.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`size` counts all blobs of the artifact, `shared` those of them that other artifacts have too, in bytes.
    `synthesised`: an image whose manifest we wrote, because it came from no registry."""

    kind: str
    name: str
    digest: Digest
    size: int
    shared: int
    synthesised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    statement: Statement
    size: int
    rows: tuple[Row, ...]
    signers: tuple[str, ...]  # keyids with a good signature, inside the file or beside it


def inspect(path: Path) -> Inspected:
    """Read the statement, and of images their manifests. Raises the bundle errors, BadSignature for a signature inside
    that does not hold."""
    with BundleFile(path) as file:
        signed = file.front()
        statement = parse_statement(signed.statement, path=str(path))
        check_signers(statement, signed)
        layout = bundle_layout(len(signed.statement), [keyid for keyid, _ in signed.inside], statement.entries)
        file.check_size(layout)
        ours = {image.root for image in statement.images if _synthesised(file, layout, image)}
    sizes = {entry.digest: entry.size for entry in statement.blobs}
    owners = Counter(digest for artifact in statement.artifacts for digest in set(artifact.members))
    rows = tuple(_row(artifact, sizes, owners, ours) for artifact in statement.artifacts)
    # Whether a signature beside the file holds is known only with its key: it is listed by `verify`, not here.
    return Inspected(
        statement=statement, size=layout.size, rows=rows, signers=tuple(keyid for keyid, _ in signed.inside)
    )


def _synthesised(file: BundleFile, layout: Layout, image: ImageArtifact) -> bool:
    place = layout.place(f"{BLOB_PREFIX}{image.root.hex}")
    data = file.body(place) if place.member.size <= LIMITS.manifest else b""
    if Digest.of(data) != image.root:
        return False
    try:
        value = canonical.load(data, limit=LIMITS.manifest)
        return isinstance(value, dict) and SYNTHESISED in (value.get("annotations") or {})
    except (Malformed, TypeError):
        return False


def _row(
    artifact: Artifact, sizes: Mapping[Digest, int], owners: Mapping[Digest, int], ours: Collection[Digest]
) -> Row:
    members = set(artifact.members)
    return Row(
        kind=kind_of(artifact),
        name=artifact.name,
        digest=artifact_digest(artifact),
        size=sum(sizes[digest] for digest in members),
        shared=sum(sizes[digest] for digest in members if owners[digest] > 1),
        synthesised=artifact_digest(artifact) in ours,
    )


def kind_of(artifact: Artifact) -> str:
    return type(artifact).__name__.removesuffix("Artifact").lower()


def extract(path: Path, name: str, out: Path, *, keys: tuple[PublicKey, ...], threshold: int) -> int:
    """Write one artifact that is one file to `out`, proved by the signed statement; gives its size in bytes.

    `images.lock` is the lock that the bundle was made from, unless an artifact has that name. Raises
    NoSuchArtifact, Unsupported for images, DamagedContent, and the trust errors.
    """
    with BundleFile(path) as file:
        signed = file.front()
        statement = judge(Trust(keys=keys, threshold=threshold), signed).statement
        layout = layout_of(file, statement, len(signed.statement))
        digest = _found(statement, name)
        if digest is None:
            raise Unsupported(
                what=f"extracting the image {name} as one file",
                why=f"The bundle is an OCI layout: skopeo copy oci-archive:{path}:{name} oci:DIR",
            )
        check_carried(file.path, statement, (digest,), what=f"extracting {name}")
        place = layout.place(f"{BLOB_PREFIX}{digest.hex}")
        write_proved(file, place, name, digest, out)
    return place.member.size


def _found(statement: Statement, name: str) -> Digest | None:
    """The digest of an artifact's one file; None of an image, which is several."""
    if name == LOCK_NAME and all(artifact.name != name for artifact in statement.artifacts):
        return statement.lock
    artifact = find(statement, name)
    return None if isinstance(artifact, ImageArtifact) else artifact.digest


def write_proved(file: BundleFile, place: Place, name: str, digest: Digest, out: Path) -> None:
    """Write a body beside `out`, hash it on the way, and give it its name only when it is proved.

    Raises DamagedContent, which names the artifact `name`; CannotWrite, DiskFull.
    """
    beside = out.with_name(f".{out.name}.{os.getpid()}.new")
    sha256 = hashlib.sha256()
    with files.writing(out, missing=place.member.size):
        try:
            with beside.open("xb") as target:

                def take(data: memoryview) -> None:
                    sha256.update(data)
                    target.write(data)

                file.stream(place, take, thread_buffer())
                target.flush()
                files.sync_file(target.fileno())
            if sha256.hexdigest() != digest.hex:
                raise DamagedContent(path=file.path, damaged=((place.member.name, (name,)),))
            beside.rename(out)
        finally:
            beside.unlink(missing_ok=True)


def artifact_digest(artifact: Artifact) -> Digest:
    """What people compare: the digest of the one file, of an image the digest that its reference names."""
    return artifact.root if isinstance(artifact, ImageArtifact) else artifact.digest


def find(statement: Statement, name: str) -> Artifact:
    """An artifact by its name, or by the digest of its content.

    Raises NoSuchArtifact with names that are close, Usage for several."""
    found = {
        artifact_digest(artifact): artifact
        for artifact in statement.artifacts
        if name in (artifact.name, str(artifact_digest(artifact)))
    }
    if len(found) > 1:
        digests = ", ".join(sorted(map(str, found)))
        raise Usage(message=f"{name} names {len(found)} artifacts", advice=f"Give a digest instead: {digests}")
    if found:
        return next(iter(found.values()))
    names = [artifact.name for artifact in statement.artifacts]
    raise NoSuchArtifact(name=name, close=tuple(difflib.get_close_matches(name, names, n=3, cutoff=0.4)))
