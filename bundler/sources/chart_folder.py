"""Charts in folders: read as Helm reads them, with what they depend on packed in."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import Malformed, NotReadable, ResolutionFailed
from bundler.model.chart import Dependency
from bundler.model.chart_versions import Range, Version
from bundler.model.lock import ChartDependency
from bundler.sources.chart_archive import LARGEST, LARGEST_FILE, Chart, read_chart
from bundler.sources.chart_ignore import NAME, Ignored
from bundler.support.files import read_file

_ENTRIES = 20_000  # files and folders of one chart
_DEPTH = 8  # of folders that depend on folders

# A dependency's pin, and the pin's archive.
Choose = Callable[[Dependency], ChartDependency]
Fetch = Callable[[ChartDependency], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A chart's folder below the manifests' `charts`, which is `base`: dependencies are found below it, too."""

    path: Path
    base: Path


def assemble(folder: Folder, *, name: str, choose: Choose, fetch: Fetch) -> tuple[Chart, dict[str, bytes]]:
    """The chart and all its files, by path: those of the folder that .helmignore leaves, then what it lacks in
    `charts/`, from neighbouring folders and from repositories.

    Raises InvalidDocument, Malformed, NotReadable, and ResolutionFailed for what cannot be packed in.
    """
    files = _assembled(folder, name, choose, fetch, depth=0)
    chart = read_chart(files, name=name)
    large = sorted(path for path, data in files.items() if len(data) > LARGEST_FILE)
    if large or sum(map(len, files.values())) > LARGEST:
        raise Malformed(
            found=f"{name} with {large[0]}" if large else f"{name} with all that is packed into it",
            expected=f"at most {LARGEST_FILE} bytes a file, {LARGEST} in all: Helm loads no more",
        )
    return chart, files


def _assembled(folder: Folder, name: str, choose: Choose, fetch: Fetch, *, depth: int) -> dict[str, bytes]:
    if depth > _DEPTH:
        raise ResolutionFailed(what=name, output=f"charts depend on one another in a circle, or {_DEPTH} levels deep")
    files = dict(_read(folder.path))
    chart = read_chart(files, name=name)
    for dependency in chart.missing:
        if dependency.repository.startswith("file://"):
            inner = _assembled(_neighbour(folder, dependency), dependency.name, choose, fetch, depth=depth + 1)
            _check_neighbour(chart, dependency, read_chart(inner, name=dependency.name))
            files |= {f"charts/{dependency.name}/{path}": data for path, data in inner.items()}
        else:
            pin = choose(_pinned(chart, dependency))
            files[f"charts/{pin.name}-{pin.version}.tgz"] = fetch(pin)
    return files


def _pinned(chart: Chart, dependency: Dependency) -> Dependency:
    """The dependency with the version that Chart.lock gives it. Raises ResolutionFailed."""
    what = f"{dependency.name} {dependency.version}, on which {chart.meta.name} depends".replace("  ", " ")
    if not dependency.repository.startswith(("https://", "http://", "oci://")):
        given = dependency.repository or "none"
        raise ResolutionFailed(
            what=what, output=f"it is not in charts/, and its repository ({given}) is no https:, oci: or file: URL"
        )
    if not chart.locked:
        return dependency
    locked = next(
        (each for each in chart.locked if (each.name, each.repository) == (dependency.name, dependency.repository)),
        None,
    )
    if locked is None or not Range.parse(dependency.version).admits(Version.parse(locked.version)):
        raise ResolutionFailed(what=what, output="Chart.lock is out of date: `helm dependency update` writes it anew")
    return locked


def _neighbour(folder: Folder, dependency: Dependency) -> Folder:
    path = (folder.path / dependency.repository.removeprefix("file://")).resolve()
    if folder.base not in path.parents:
        raise Malformed(found=dependency.repository[:160], expected=f"a folder below {folder.base}")
    return Folder(path=path, base=folder.base)


def _check_neighbour(chart: Chart, dependency: Dependency, found: Chart) -> None:
    admitted = Range.parse(dependency.version).admits(Version.parse(found.meta.version))
    if found.meta.name != dependency.name or not admitted:
        raise ResolutionFailed(
            what=f"{dependency.name} {dependency.version}, on which {chart.meta.name} depends",
            output=f"{dependency.repository} holds {found.meta.name} {found.meta.version}",
        )


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files that .helmignore leaves. Raises NotReadable for links and special files among them."""
    text = folder / NAME
    rules = read_file(text, limit=LARGEST_FILE).decode("utf-8", "replace") if text.is_file() else ""
    ignored = Ignored.parse(rules, file=str(text))
    count, left, waiting = 0, LARGEST, [""]
    while waiting:
        above = waiting.pop()
        for entry in _listed(folder / above):
            path = f"{above}{entry.name}"
            state = entry.stat(follow_symlinks=False)
            if ignored.leaves_out(path, folder=stat.S_ISDIR(state.st_mode)):
                continue
            count += 1
            if count > _ENTRIES or not (path.isascii() and path.isprintable()):
                raise NotReadable(path=entry.path, why=f"a chart has {_ENTRIES} files at most, and ASCII names")
            if stat.S_ISDIR(state.st_mode):
                waiting.append(f"{path}/")
            elif stat.S_ISREG(state.st_mode):
                data = read_file(Path(entry.path), limit=min(LARGEST_FILE, left))
                left -= len(data)
                yield path, data
            else:
                raise NotReadable(path=entry.path, why="it is a link or no regular file; .helmignore may leave it out")


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise NotReadable(path=str(folder), why=error.strerror or str(error)) from None
