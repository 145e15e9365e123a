"""bootstrap.tar: the tool itself, run by a stock python3 without network and pip.

`bootstrap/__main__.py` and `bootstrap/bundler/` are the tool's own sources, `bootstrap/wheels/` the locked wheels,
`bootstrap/pythons.json` says which wheels serve which Python. Plain files in a tar: nothing is compressed here, so
no compressor's version shows in the bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bundler.archive.layout import Layout, Member, lay_out
from bundler.model import canonical
from bundler.model.lock import LockedBootstrap, LockedWheel

FOLDER = "bootstrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """`ready` has the bytes of the members that are no wheels; `wheels` the locked wheel of each other member."""

    layout: Layout
    ready: Mapping[str, bytes]
    wheels: Mapping[str, LockedWheel]


def bootstrap_of(locked: LockedBootstrap, sources: Mapping[str, bytes]) -> Bootstrap:
    """`sources` are the tool's files by their path below the folder, `__main__.py` among them."""
    ready = {f"{FOLDER}/{path}": data for path, data in sources.items()}
    ready[f"{FOLDER}/pythons.json"] = canonical.dump(
        {python: sorted(wheel.file for wheel in locked.wheels if python in wheel.pythons) for python in locked.pythons}
    )
    wheels = {f"{FOLDER}/wheels/{wheel.file}": wheel for wheel in locked.wheels}
    members = [Member(name=name, size=len(ready[name])) for name in sorted(ready)]
    members += [Member(name=name, size=wheels[name].size) for name in sorted(wheels)]
    return Bootstrap(layout=lay_out(members), ready=ready, wheels=wheels)
