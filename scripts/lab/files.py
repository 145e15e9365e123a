"""Make the files that the lab's upstream serves: archives of what recipes build, their checksums and signatures, and
stand-ins of real size for what vendors give out."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from scripts.lab.build import built
from scripts.lab.common import ARCHITECTURE, CACHE, CHUNK, Recipe, digest_of, filled, key_of, locked, say
from scripts.lab.key import key_id, signed_detached
from scripts.lab.tars import write_tar

MADE_BY = 1  # raised when the same recipe gives other bytes


def published(name: str, recipe: Recipe) -> Path:
    """A folder with the files of a recipe as HOST/PATH. Raises CannotBuild."""
    files = recipe["files"]
    programs = {path: built(name, file.get("architecture", ARCHITECTURE)) for path, file in files.items()}
    signer = key_id() if any(file.get("signed") for file in files.values()) else ""
    key = key_of(MADE_BY, files, sorted({folder.name for folder in programs.values()}), signer)
    target = CACHE / "lab/files" / f"{name}-{key}"
    with locked(target.name):
        if not target.is_dir():
            say(f"files: {name}")
            with filled(target) as scratch:
                for path, file in files.items():
                    make(scratch / path, file, programs[path])
                write_sums(scratch, files)
    return target


def make(target: Path, file: Recipe, programs: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if "member" in file:
        # Not a link: what is served has a time of its own, of which a server makes its ETag.
        shutil.copyfile(programs / file["member"], target)
    else:
        ((prefix, source),) = file["archive"].items()
        root = programs / source
        paths = (path for path in root.rglob("*") if path.is_file())
        write_tar(target, {PurePosixPath(prefix, path.relative_to(root)): path for path in paths})
    if file.get("signed"):
        target.with_name(f"{target.name}.asc").write_bytes(signed_detached(target.read_bytes()))


def write_sums(folder: Path, files: Mapping[str, Recipe]) -> None:
    """Checksum files: beside their file by a suffix, or (`/NAME`) one for several files of a folder."""
    shared: dict[Path, list[str]] = defaultdict(list)
    for path, file in files.items():
        target = folder / path
        for where, form in file.get("sums", {}).items():
            algorithm, *bare = form.split()
            digest = digest_of(target, algorithm)
            place = target.parent / where[1:] if where.startswith("/") else target.with_name(target.name + where)
            shared[place].append(digest if bare else f"{digest}  {target.name}\n")
    for place, lines in shared.items():
        place.write_text("".join(lines))


# --- big files


def big_files(files: Mapping[str, Recipe]) -> Iterable[Path]:
    """Folders that hold files of incompressible bytes, the same for the same name and size, as HOST/PATH."""
    for path, file in files.items():
        target = CACHE / "lab/big" / f"{PurePosixPath(path).name}-{key_of(MADE_BY, path, file)}"
        with locked(target.name):
            if not target.is_dir():
                say(f"files: {path}, {file['size'] / 1e9:.1f} GB")
                with filled(target) as scratch:
                    write_random(scratch / path, file["size"])
                    write_sums(scratch, {path: file})
        yield target


def write_random(target: Path, size: int) -> None:
    """The key stream of AES: fast, and nothing can compress it."""
    target.parent.mkdir(parents=True)
    seed = hashlib.sha256(target.name.encode()).digest()
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    with target.open("wb") as out:
        for start in range(0, size, CHUNK):
            out.write(stream.update(bytes(min(CHUNK, size - start))))
