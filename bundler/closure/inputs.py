"""What the proof has to look into: charts, and the programs that render them or name images; brought into a folder."""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from bundler.archive.oci import CHART_TYPE
from bundler.catalog.manifests import Manifests
from bundler.errors import NotReadable, WrongBytes
from bundler.model.asked import Asked
from bundler.model.component import ToolRequest
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import LockedChart, LockedFile
from bundler.sources.charts import Charts, Places
from bundler.sources.files import file_source, receive_local
from bundler.support import parallel
from bundler.transport import Request

_JOBS = 4
_LARGEST = 1 << 30  # bytes of one program
Input = LockedChart | LockedFile


def inputs_of(
    asked: Iterable[Asked], charts: Iterable[LockedChart], files: Iterable[LockedFile]
) -> Mapping[Digest, Input]:
    """Of what is locked, the charts that are rendered, the files that are run, and the manifests that are read."""
    asked = tuple(asked)
    wanted = {(chart.chart, chart.version) for each in asked for chart in each.charts}
    read = {tool.file for each in asked for _, tool in each.tools}
    read |= {name for each in asked for name in each.files if is_manifest(name)}
    found: dict[Digest, Input] = {each.digest: each for each in charts if (each.chart, each.version) in wanted}
    found |= {each.digest: each for each in files if each.name in read}
    return found


def is_manifest(name: str) -> bool:
    """Whether a carried file is read as Kubernetes objects, such as a static pod."""
    return name.endswith((".yaml", ".yml"))


def receive_inputs(
    inputs: Mapping[Digest, Input],
    places: Places,
    manifests: Manifests,
    folder: Path,
    *,
    copy: "Callable[[Digest, int, _Sink], bool]" = lambda digest, size, sink: False,
) -> Mapping[Digest, Path]:
    """Fetch them from their sources into `folder`, but for what `copy` has at hand.

    Raises the first failure: WrongBytes and what the sources raise."""
    charts = Charts(places, manifests)

    def receive(entry: Input) -> None:
        path = path_in(folder, entry)
        if path.exists():
            return  # proved when it came
        path.parent.mkdir()
        with path.open("wb") as file:
            sink = _Sink(file)
            if copy(entry.digest, entry.size, sink):
                return
            source: Request | Path | bytes
            if isinstance(entry, LockedChart):
                layer = Descriptor(media_type=CHART_TYPE, digest=entry.digest, size=entry.size)
                source = charts.locate(entry, layer)
            else:
                source = file_source(entry.url, manifests=manifests, upstreams=places.upstreams)
            if isinstance(source, Request):
                places.transport.receive(source, size=entry.size, sink=sink)
            elif isinstance(source, Path):
                receive_local(source, size=entry.size, sink=sink)
            else:
                sink.write(memoryview(source))
        if sink.digest != entry.digest:
            path.unlink()
            raise WrongBytes(what=entry.name, expected=str(entry.digest), found=str(sink.digest))

    for _, error in parallel.each(inputs.values(), receive, jobs=_JOBS):
        raise error
    return {digest: path_in(folder, entry) for digest, entry in inputs.items()}


def path_in(folder: Path, entry: Input) -> Path:
    """Where an input lies: under its own name, which is what findings about it say."""
    return folder / entry.digest.hex / entry.name


class _Sink:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self.position = file, hashlib.sha256(), 0

    def write(self, data: memoryview) -> None:
        self._hash.update(data)
        self._file.write(data)
        self.position += len(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def forget(self) -> None:
        self._hash, self.position = hashlib.sha256(), 0
        self._file.seek(0)
        self._file.truncate()


def program(tool: ToolRequest, path: Path) -> Path:
    """The program that a tool's file is or has in it, ready to run. Raises NotReadable."""
    if tool.member:
        path = _member(path, tool.member)
    path.chmod(0o700)
    return path


def _member(archive: Path, name: str) -> Path:
    target = archive.with_name(f"{archive.name}.{name.replace('/', '_')}")
    if target.exists():
        return target
    try:
        with ExitStack() as stack:
            tar = stack.enter_context(tarfile.open(archive, "r:*"))
            member = next((each for each in tar if each.name.removeprefix("./") == name and each.isfile()), None)
            stream = tar.extractfile(member) if member else None
            if member is None or stream is None or member.size > _LARGEST:
                raise NotReadable(path=str(archive), why=f"it has no file {name}")
            file = stack.enter_context(target.with_suffix(".half").open("wb"))
            while data := stream.read(1 << 20):
                file.write(data)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotReadable(path=str(archive), why=str(error)) from None
    return target.with_suffix(".half").rename(target)
