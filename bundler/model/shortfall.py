"""What a lock by itself shows to be missing: what its components ask for by name, and do not get. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from bundler.model.asked import Asked
from bundler.model.component import Silence
from bundler.model.lock import Lock

_HEADERS = "linux-headers-"


class Unpinned(NamedTuple):
    """An `image`, `chart` or `file` without an entry in the lock."""

    component: str
    kind: str
    name: str


def unpinned(lock: Lock) -> Iterator[Unpinned]:
    """What a component asks for by name and the lock has no entry of."""
    images = {image.name for image in lock.images}
    charts = {(chart.chart, chart.version) for chart in lock.charts}
    files = {file.name for file in lock.files}
    for asked in lock.asked:
        wanted = [("image", str(image)) for image in (*asked.images, *asked.revealed) if str(image) not in images]
        wanted += [
            ("chart", f"{chart.chart}-{chart.version}")
            for chart in asked.charts
            if (chart.chart, chart.version) not in charts
        ]
        wanted += [("file", name) for name in asked.files if name not in files]
        yield from (Unpinned(asked.component, kind, name) for kind, name in wanted)


def silenced(lock: Lock) -> Iterator[tuple[str, Silence]]:
    """What a component's author let pass although the lock does not have it, by the component."""
    images = {image.name for image in lock.images}
    for asked in lock.asked:
        yield from ((asked.component, silence) for silence in asked.silences if silence.image not in images)


def provided(asked: tuple[Asked, ...]) -> dict[str, str]:
    """Versions by name, as the components provide them; the kernel's headers by their package."""
    found = {name: version for each in asked for name, version in each.provides}
    for name in (name for each in asked for name in each.packages):
        if name.startswith(_HEADERS):
            found.setdefault("kernel-headers", name.removeprefix(_HEADERS))
    return found
