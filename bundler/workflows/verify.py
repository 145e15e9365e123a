"""`bundle verify`: is this file what its signers signed, every byte of it?"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.archive.slices import OneFile, volumes_of
from bundler.errors import NotReadable, SliceDamaged
from bundler.model.statement import Statement
from bundler.model.volumes import Volumes, numbered
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust, judge, judge_volumes
from bundler.support.progress import Progress
from bundler.verify.check import check_bodies, check_bootstrap_signatures, layout_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    statement: Statement
    layout: Layout
    signed: tuple[str, ...]  # keyids of the trusted keys


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSlice:
    path: Path
    number: int
    volumes: Volumes


def verify(
    path: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int,
    jobs: int,
    progress: Progress,
    folders: Sequence[Path] = (),
) -> Verified:
    """A bundle file or all slices of one. Raises the trust and bundle errors, each for its own finding."""
    trust = Trust(keys=tuple(keys), threshold=threshold)
    with BundleFile(path, folders) as file:
        signed = file.front()
        accepted = judge(trust, signed)
        layout = layout_of(file, accepted.statement, len(signed.statement))
        check_bodies(file, accepted.statement, layout, jobs=jobs, progress=progress)
        check_bootstrap_signatures(file, accepted.statement, layout)
    return Verified(statement=accepted.statement, layout=layout, signed=accepted.signed)


def verify_slice(
    path: Path, *, keys: Sequence[PublicKey], threshold: int, progress: Progress, folders: Sequence[Path] = ()
) -> VerifiedSlice | None:
    """One slice alone, by the signed document of its set; None when `path` is no slice of a set.

    Raises SliceMissing, SliceDamaged, and the trust errors for the document.
    """
    part = numbered(path.name)
    found = volumes_of(path, folders) if part else None
    if part is None or found is None:
        return None
    volumes = judge_volumes(Trust(keys=tuple(keys), threshold=threshold), found.signed)
    number = part[1]
    if number > len(volumes.slices):
        raise NotReadable(path=str(path), why=f"the set {found.path.name} has only {len(volumes.slices)} slices")
    expected = volumes.slices[number - 1]
    progress.expect(expected.size)
    progress.begin(path.name)
    with closing(OneFile(path)) as file:
        if why := found.damage_in(file, number, progress.advance):
            raise SliceDamaged(path=str(found.path), damaged=((str(path), why),))
    return VerifiedSlice(path=path, number=number, volumes=volumes)
