"""`scripts/bench delta`: how much of a new blob travels when an old one is there, how long that takes, and how exactly
blobs are rebuilt. `zstd --patch-from` on the unpacked content, which rebuilds no original bytes, is the floor."""

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
WHEELS = """numpy 2.2.5 2.2.6, pandas 2.2.2 2.2.3, scipy 1.15.2 1.15.3, scikit-learn 1.6.0 1.6.1, cryptography 44.0.2
44.0.3, pydantic-core 2.33.1 2.33.2, lxml 5.3.1 5.3.2, pillow 11.1.0 11.2.1, matplotlib 3.10.1 3.10.3,
sqlalchemy 2.0.40 2.0.41, django 5.1.6 5.1.7, botocore 1.38.0 1.38.1, grpcio 1.71.0 1.71.2, pyarrow 19.0.0
19.0.1, aiohttp 3.11.17 3.11.18, ruff 0.11.8 0.11.9, uv 0.7.3 0.7.4, transformers 4.51.2 4.51.3, setuptools
80.3.1 80.4.0, psycopg2-binary 2.9.9 2.9.10"""
DEBS = """openssl libssl3 libc6 nginx-common curl libcurl4 openssh-server linux-libc-dev python3.11-minimal
libpython3.11-stdlib systemd sudo perl-base perl-modules-5.36 libxml2 git libexpat1 bind9-libs postgresql-15
redis-server apache2-bin php8.2-cli"""


GO = Path(__file__).parents[2] / "bundler/patch/gogzip"  # built here by this machine's own Go


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    kind: str
    name: str
    old: Path
    new: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Seconds, and peak memory in bytes, of the making (with its proof) and of the rebuilding."""

    pair: Pair
    whole: int
    patch: int  # the whole, where there is none that pays
    floor: int
    explained: float
    made: tuple[float, int]
    rebuilt: tuple[float, int]

    @property
    def share(self) -> float:
        return self.patch / self.whole


# --- pairs


def wheels(work: Path) -> Iterator[Pair]:
    for entry in WHEELS.split(","):
        project, *versions = entry.split()
        found = [_wheel(work / "wheels" / project / version, project, version) for version in versions]
        yield Pair(kind="wheels", name=f"{project} {versions[0]} → {versions[1]}", old=found[0], new=found[1])


def _wheel(folder: Path, project: str, version: str) -> Path:
    if not list(folder.glob("*.whl")):
        platforms = [f"--platform={each}_x86_64" for each in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--platform=any"]
        line += ["--python-version=3.11", *platforms, "-d", str(folder), f"{project}=={version}"]
        subprocess.run(line, check=True)
    return next(folder.glob("*.whl"))


def debs(work: Path) -> Iterator[Pair]:
    """What the archives have in two versions: of the release, and of its updates."""
    for package in DEBS.split():
        said = subprocess.run(["apt-cache", "madison", package], capture_output=True, text=True, check=True).stdout
        versions = list(dict.fromkeys(line.split("|")[1].strip() for line in said.splitlines()))
        if len(versions) < 2:
            print(f"{package}: the archives have only {', '.join(versions) or 'none'}", file=sys.stderr)
            continue
        new, old = versions[0], versions[-1]
        found = [_deb(work / "debs" / package / version.replace(":", "."), package, version) for version in (old, new)]
        yield Pair(kind="packages", name=f"{package} {old} → {new}", old=found[0], new=found[1])


def _deb(folder: Path, package: str, version: str) -> Path:
    if not list(folder.glob("*.deb")):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", f"{package}={version}"], cwd=folder, check=True)
    return next(folder.glob("*.deb"))


def layers(work: Path, size: int) -> Iterator[Pair]:
    """Two tars of programs and libraries of this machine, of which one file differs, by each encoder there is."""
    folder = work / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    for number, changed in enumerate((b"old\n" * 1000, b"a newer one\n" * 1200), 1):
        if not (folder / f"{number}.tar").exists():
            _tar(folder / f"{number}.tar", size, changed)
    for name, encode in _encoders(folder).items():
        paths = [folder / f"{number}.{name.replace(' ', '-')}" for number in (1, 2)]
        for number, path in enumerate(paths, 1):
            if not path.exists():
                with (folder / f"{number}.tar").open("rb") as plain, path.open("wb") as out:
                    encode(plain.fileno(), out.fileno())
        yield Pair(kind="layers", name=f"{size // MB} MB tar, {name}", old=paths[0], new=paths[1])


def _tar(path: Path, size: int, changed: bytes) -> None:
    left, middle = size, False
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(Path("/usr/lib").rglob("*")):
            if left <= size // 2 and not middle:
                middle = True
                entry = tarfile.TarInfo("etc/changed")
                entry.size = len(changed)
                with tempfile.TemporaryFile() as content:
                    content.write(changed)
                    content.seek(0)
                    archive.addfile(entry, content)
            if file.is_file() and not file.is_symlink() and file.stat().st_size < size // 4:
                archive.add(file, recursive=False)
                left -= file.stat().st_size
            if left <= 0:
                return


def _encoders(folder: Path) -> dict[str, Callable[[int, int], None]]:
    def program(*line: str) -> Callable[[int, int], None]:
        return lambda plain, out: subprocess.run(line, stdin=plain, stdout=out, check=True) and None

    found: dict[str, Callable[[int, int], None]] = {"zlib 6": lambda plain, out: _zlib(plain, out, 6)}
    if shutil.which("pigz"):
        found |= {"pigz 6": program("pigz", "-n", "-c")}
    if shutil.which("zstd"):
        found |= {f"zstd {level}": program("zstd", f"-{level}", "-c", "-q") for level in (3, 9)}
    if shutil.which("gzip"):
        found |= {"GNU gzip 6": program("gzip", "-n", "-c")}
    if shutil.which("go"):
        if not (folder / "gogzip").exists():
            subprocess.run(["go", "build", "-o", str(folder / "gogzip"), "."], cwd=GO, check=True)
        found |= {f"Go gzip {level}": program(str(folder / "gogzip"), str(level)) for level in (6, 1)}
    return found


def _zlib(plain: int, out: int, level: int) -> None:
    one = zlib.compressobj(level, zlib.DEFLATED, 31)
    while data := os.read(plain, 1 << 20):
        _write(out, one.compress(data))
    _write(out, one.flush())


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


def models(work: Path, size: int) -> Iterator[Pair]:
    """Noise, of which ten stretches, a hundredth of all, are other noise."""
    folder = work / "models"
    folder.mkdir(parents=True, exist_ok=True)
    old, new = folder / "1.bin", folder / "2.bin"
    if not new.exists():
        with old.open("wb") as one:
            for at in range(0, size, MB):
                one.write(os.urandom(min(MB, size - at)))
        shutil.copyfile(old, new)
        dice = random.Random(1)
        with new.open("r+b") as two:
            for _ in range(10):
                two.seek(dice.randrange(size - size // 1000))
                two.write(os.urandom(size // 1000))
    yield Pair(kind="models", name=f"{size // MB} MB, 1 % changed", old=old, new=new)


def drivers(work: Path) -> Iterator[Pair]:
    """A script with an archive behind it, as makeself writes it: GNU gzip at its best."""
    folder = work / "drivers"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.run" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        if not path.exists():
            with path.open("wb") as out, (work / "layers" / f"{number}.tar").open("rb") as archive:
                out.write(f"#!/bin/sh\n# version {number}\ntail -n +4 $0 | tar -xz\nexit\n".encode())
                out.flush()
                subprocess.run(["gzip", "-9", "-n", "-c"], stdin=archive, stdout=out, check=True)
    yield Pair(kind="drivers", name="self-extracting, GNU gzip 9", old=paths[0], new=paths[1])


# --- measuring


def measure(pair: Pair, work: Path) -> Found:
    patch = work / "the.patch"
    made, said = _child("make", pair.new, pair.old, patch, scratch=work)
    whole = pair.new.stat().st_size
    size, rebuilt = whole, (0.0, 0)
    if said["patch"]:
        rebuilt, back = _child("rebuild", patch, pair.old, scratch=work)
        assert back["digest"] == _digest(pair.new), pair.name
        size = patch.stat().st_size
    floor = _floor(pair, work)
    return Found(
        pair=pair, whole=whole, patch=size, floor=floor, explained=said["explained"], made=made, rebuilt=rebuilt
    )


def _child(*line: object, scratch: Path) -> tuple[tuple[float, int], dict[str, object]]:
    start = time.monotonic()
    command = [sys.executable, "-m", "scripts.lab.bench_delta", "--child", *map(str, line), str(scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return (time.monotonic() - start, usage.ru_maxrss << 10), json.loads(said)


def child(what: str, first: Path, old: Path, *rest: Path) -> dict[str, object]:
    from bundler.model.digest import Digest
    from bundler.patch.apply import rebuilt
    from bundler.patch.bytes_at import of_descriptor
    from bundler.patch.make import Blob, make
    from bundler.support import files

    scratch = rest[-1]
    with ExitStack() as stack:

        def opened(path: Path) -> Blob:
            file = stack.enter_context(path.open("rb"))
            return Blob(digest=Digest(_digest(path)), data=of_descriptor(file.fileno(), path.stat().st_size))

        base = opened(old)
        if what == "rebuild":
            patch, sha256 = opened(first), hashlib.sha256()
            _, pieces = rebuilt(
                patch.data, lambda *_: base.data, stack, scratch=lambda: files.scratch(scratch), room=1 << 62
            )
            for data in pieces:
                sha256.update(data)
            return {"digest": sha256.hexdigest()}
        target, out = opened(first), stack.enter_context(rest[0].open("w+b"))
        most = int(0.9 * target.data.size)
        head = make(target, [base], out, scratch=lambda: files.scratch(scratch), most=most)
        return {"patch": head is not None, "explained": _explained(target.data)}


def _explained(data: object) -> float:
    """The share of what is compressed in a blob that is made exactly again; of one with nothing compressed, all."""
    from bundler.patch.dissect import dissect
    from bundler.patch.explain import explained
    from bundler.patch.parts import RAW

    def packed(parts: Iterable[object]) -> int:
        return sum(part.size for part in parts if part.kind != RAW)  # type: ignore[attr-defined]

    there = packed(dissect(data))  # type: ignore[arg-type]
    return packed(explained(data)) / there if there else 1.0  # type: ignore[arg-type]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _floor(pair: Pair, work: Path) -> int:
    """What `zstd --patch-from` makes of the unpacked content."""
    from bundler.patch.bytes_at import of_descriptor
    from bundler.patch.dissect import dissect
    from bundler.patch.plain import plain_of

    paths = []
    for path in (pair.old, pair.new):
        plain = work / f"{'old' if path == pair.old else 'new'}.plain"
        with path.open("rb") as file, plain.open("wb") as out:
            data = of_descriptor(file.fileno(), path.stat().st_size)
            for piece in plain_of(data, dissect(data)):
                out.write(piece)
        paths.append(plain)
    line = ["zstd", "-12", "--long=31", "-q", "-c", f"--patch-from={paths[0]}", str(paths[1])]
    with (work / "floor").open("wb") as out:
        subprocess.run(line, stdout=out, check=True)
    size = (work / "floor").stat().st_size
    for path in (*paths, work / "floor"):
        path.unlink()
    return size


# --- showing


def table(found: list[Found]) -> str:
    lines = [
        "| what | whole, MB | patch, MB | share | floor, MB | exact | make, s | MB/s | RSS | rebuild, s | MB/s | RSS |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        size = each.whole / MB
        sides = " | ".join(
            f"{seconds:.1f} | {size / seconds:.1f} | {memory / MB:.0f}" if seconds else "– | – | –"
            for seconds, memory in (each.made, each.rebuilt)
        )
        amount = f"{size:.2f} | {each.patch / MB:.3f} | {100 * each.share:.2f} % | {each.floor / MB:.3f}"
        lines.append(f"| {each.pair.name} | {amount} | {100 * each.explained:.0f} % | {sides} |")
    mean = math.exp(sum(math.log(each.share) for each in found) / len(found))
    exact = sum(each.explained > 0.99 for each in found)
    said = f"{exact} of {len(found)} are rebuilt exactly to 99 % and more; geometric mean {100 * mean:.1f} %."
    return "\n".join([*lines, "", said])


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], *map(Path, sys.argv[3:]))))
        return
    parser = argparse.ArgumentParser(prog="bench delta", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[], help="wheels, packages, layers, models, drivers (all)")
    parser.add_argument("--work", type=Path, required=True, help="where pairs are kept and files are written")
    parser.add_argument("--layer", type=int, default=500, help="MB of a layer's tar")
    parser.add_argument("--model", type=int, default=1000, help="MB of the model")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], Iterator[Pair]]] = {
        "wheels": lambda: wheels(options.work),
        "packages": lambda: debs(options.work),
        "layers": lambda: layers(options.work, options.layer * MB),
        "models": lambda: models(options.work, options.model * MB),
        "drivers": lambda: drivers(options.work),
    }
    for kind in options.kinds or makers:
        found = []
        for pair in makers[kind]():
            found.append(measure(pair, options.work))
            print(f"{pair.name}: {100 * found[-1].share:.2f} %", file=sys.stderr, flush=True)
        print(f"\n{kind}\n\n{table(found)}", flush=True)


if __name__ == "__main__":
    main()
