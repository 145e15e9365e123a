"""`bundle verify`: is this file what its signers signed, every byte of it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.model.statement import Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust, judge
from bundler.support.progress import Progress
from bundler.verify.check import check_bodies, check_bootstrap_signatures, layout_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    statement: Statement
    layout: Layout
    signed: tuple[str, ...]  # keyids of the trusted keys


def verify(path: Path, *, keys: Sequence[PublicKey], threshold: int, jobs: int, progress: Progress) -> Verified:
    """Raises the trust and bundle errors, each for its own finding."""
    trust = Trust(keys=tuple(keys), threshold=threshold)
    with BundleFile(path) as file:
        signed = file.front()
        accepted = judge(trust, signed)
        layout = layout_of(file, accepted.statement, len(signed.statement))
        check_bodies(file, accepted.statement, layout, jobs=jobs, progress=progress)
        check_bootstrap_signatures(file, accepted.statement, layout)
    return Verified(statement=accepted.statement, layout=layout, signed=accepted.signed)
