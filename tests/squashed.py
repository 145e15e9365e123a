"""A line of releases whose deltas have patches, and their squashing: for the tests of `bundle squash`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.signing.trust import Trust
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows.squash import Squashed, squash
from tests.bundles import ALICE, SOURCES, TinyBundle
from tests.patched import delta_between, release, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Three whole releases, all of whose blobs change each time; the second and the third as deltas with patches to the
    one before, and the second as one without. The fifth has what the second has, and a little that is new: it comes as
    a delta to that, without patches. The fourth has little that is new, too, against the third."""

    whole: Mapping[int, TinyBundle]
    second: Path
    third: Path
    unpatched: Path
    fourth: Path
    fifth: Path


def line_of(folder: Path) -> Line:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "tool_sources", lambda: SOURCES)
        patched.setattr(module, "prove_before", lambda lock, progress: None)
        stays = {"stays.bin": text(70, 90_000)}
        whole = {
            1: release(folder, 1, b"old", **stays),
            2: release(folder, 2, b"newer", **stays),
            3: release(folder, 3, b"the last one", **stays),
            4: release(folder, 4, b"the last one", fresh=text(50, 200_000) + b"four"),
            5: release(folder, 5, b"newer", fresh=text(99, 9000)),
        }
        return Line(
            whole=whole,
            second=delta_between(whole[1], whole[2], name="2.delta").out,
            third=delta_between(whole[2], whole[3], name="3.delta").out,
            unpatched=delta_between(whole[1], whole[2], name="2.unpatched", patch=False).out,
            fourth=delta_between(whole[3], whole[4], name="4.delta").out,
            fifth=delta_between(whole[2], whole[5], name="5.delta", patch=False).out,
        )


def run(out: Path, *paths: Path, **options: object) -> Squashed:
    trust = Trust(keys=(ALICE.public,), threshold=1)
    return squash(paths, out, keys=[ALICE], trust=trust, jobs=2, progress=Silent(), **options)  # type: ignore[arg-type]


def left(out: Path) -> list[str]:
    """What lies in its folder."""
    return sorted(path.name for path in out.parent.iterdir())
