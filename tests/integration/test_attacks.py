"""The attacks in full: every bit of a bundle's frame, thousands of bodies', a real bundle through the command line, and
the printed recipe against bundles that somebody changed."""

import multiprocessing
import os
import random
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, STATEMENT
from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.archive.recipe import recipe
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import SigningKey
from bundler.verify.check import layout_of
from tests.bundles import ALICE, BOB, TinyBundle, tiny_bundle
from tests.campaigns import Workshop, every_bit, flip_all, regions_of, some_bits
from tests.lab import Upstream, require_program


def flip_share(folder: Path, share: int, shares: int) -> int:
    """Every bit of the frame, of one of so many interleaved shares, in a copy of the bundle of its own."""
    (folder / str(share)).mkdir()
    made = tiny_bundle(folder / str(share), images={}, wheels=(), debs=(), files={"a": b"a"}, sources={"a.py": b""})
    frame, _ = regions_of(made.layout)
    bits = (found for at, found in enumerate(every_bit(frame)) if at % shares == share)
    return flip_all(made, bits)


@pytest.mark.slow
def test_every_bit_of_the_frame(tmp_path: Path) -> None:
    """Headers, padding, end mark, statement and signatures: about 95,000 flips, each refused for its own reason."""
    shares = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(shares) as pool:
        counts = pool.starmap(flip_share, [(tmp_path, share, shares) for share in range(shares)])
    (tmp_path / "whole").mkdir()
    made = tiny_bundle(tmp_path / "whole", images={}, wheels=(), debs=(), files={"a": b"a"}, sources={"a.py": b""})
    frame, _ = regions_of(made.layout)
    print(f"{sum(counts)} flips of the frame")
    assert sum(counts) == 8 * sum(region.end - region.start for region in frame) > 80_000


def test_bits_of_bodies(tmp_path: Path) -> None:
    """Two thousand and more, each naming the entry and its artifacts."""
    made = tiny_bundle(tmp_path)
    _, bodies = regions_of(made.layout)
    count = flip_all(made, some_bits(bodies, 2000, seed=3))
    print(f"{count} flips of bodies")
    assert count > 2000


# --- a real bundle, by the command line


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, empty_upstream: Upstream) -> Workshop:
    images = empty_upstream.add_random_images(3, size="2M", blobs=4, prefix="attacks/")
    made = Workshop(folder=tmp_path_factory.mktemp("attacks"), upstreams={"lab.example": empty_upstream.url})
    made.declare(images=[f"lab.example/{name}" for name in images])
    made.lock()
    made.run(*made.create("good.bundle"))
    made.run("keys", "create", "stranger")
    return made


def layout_in(path: Path) -> Layout:
    with BundleFile(path) as file:
        signed = file.front()
        return layout_of(file, parse_statement(signed.statement, path=str(path)), len(signed.statement))


def test_a_sample_of_a_real_bundle(workshop: Workshop) -> None:
    """Flips by region, and the code that the command ends with."""
    path = workshop.folder / "flipped.bundle"
    shutil.copy(workshop.folder / "good.bundle", path)
    frame, bodies = regions_of(layout_in(path))
    codes = {"HeaderMismatch": 43, "BadSignature": 33, "DamagedContent": 44}
    chance = random.Random(4)
    with path.open("r+b", buffering=0) as file:
        for region in [*chance.sample(frame, 8), *chance.sample(bodies, 8)]:
            if region.end == region.start:
                continue
            offset = chance.randrange(region.start, region.end)
            before = os.pread(file.fileno(), 1, offset)
            os.pwrite(file.fileno(), bytes([before[0] ^ 1 << chance.randrange(8)]), offset)
            said = workshop.run("verify", path.name, "--trust", "release.pub", code=codes[region.error.__name__])
            assert region.entry in said
            os.pwrite(file.fileno(), before, offset)
    workshop.run("verify", path.name, "--trust", "release.pub")


SIZES: dict[str, tuple[Callable[[int], int], int]] = {
    "nothing": (lambda size: 0, 40),
    "a block": (lambda size: 512, 41),
    "half": (lambda size: size // 2, 41),
    "without its end mark": (lambda size: size - len(tar.END), 41),
    "a byte short": (lambda size: size - 1, 41),
    "a byte long": (lambda size: size + 1, 42),
    "a block long": (lambda size: size + 512, 42),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_of_a_real_bundle(workshop: Workshop, case: str) -> None:
    size, code = SIZES[case]
    path = workshop.folder / "resized.bundle"
    shutil.copy(workshop.folder / "good.bundle", path)
    os.truncate(path, size(path.stat().st_size))
    workshop.run("verify", path.name, "--trust", "release.pub", code=code)
    workshop.run("install", path.name, "--trust", "release.pub", "--root", "resized", code=code)
    assert not (workshop.folder / "resized").exists()


def test_trust_on_the_command_line(workshop: Workshop) -> None:
    """Each refusal with its own code, and a site that stays what it was."""
    folder, root = workshop.folder, "trusting"

    def install(*options: str, bundle: str = "good.bundle", code: int = 0) -> str:
        return workshop.run("install", bundle, "--root", root, *options, code=code)

    install("--trust", "stranger.pub", code=31)
    install("--trust", "release.pub", "--trust", "stranger.pub", "--threshold", "2", code=32)
    install("--trust", "release.pub", "--trust", "release.pub", code=39)
    install(code=2)
    assert not (folder / root).exists()
    workshop.run("create", "--lock", "campaign.lock", "-o", "unsigned.bundle")
    install("--trust", "release.pub", bundle="unsigned.bundle", code=30)
    install("--trust", "release.pub")
    install("--trust", "stranger.pub", code=38)
    install("--threshold", "2", code=38)
    assert "nothing to do" in install()
    before = (folder / root / "current").readlink()
    for number, file, code in ((0, b"older", 36), (1, b"other", 37)):
        name = f"release-{number}"
        workshop.declare(files={"note.txt": file}, number=number, name=name)
        workshop.lock(name)
        workshop.run(*workshop.create(f"{name}.bundle", lock=f"{name}.lock"))
        install(bundle=f"{name}.bundle", code=code)
    assert (folder / root / "current").readlink() == before


# --- the recipe

RUN = b"import pathlib, sys\npathlib.Path(sys.argv[0]).parent.parent.joinpath('%s').write_text('ran')\n"
GOOD, EVIL = RUN % b"good", RUN % b"evil"


def follow(path: Path, folder: Path, *, signed: bool = True) -> tuple[int, set[str]]:
    """Run the recipe, as it is but for the places of the files; its exit code and what has run."""
    for program in ("tar", "openssl", "python3"):
        require_program(program)
    key, scratch = folder / "card.pub", folder / "scratch"
    key.write_bytes(ALICE.public.pem())
    scratch.mkdir()
    text = textwrap.dedent("".join(re.findall(r"(?m)^    .*\n", recipe(signed=signed).decode())))
    script = text.replace("/media/disk/site.bundle", str(path)).replace("/media/card/NAME.pub", str(key))
    assert script.count(str(folder)) == 2
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(scratch)}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, timeout=60)
    return done.returncode, {found.name for found in scratch.rglob("*") if found.name in ("good", "evil")}


def bundle(folder: Path, source: bytes, **options: object) -> TinyBundle:
    folder.mkdir(exist_ok=True)
    options = {"images": {}, "wheels": (), "debs": (), "files": {"a": b"a"}, **options}
    return tiny_bundle(folder, sources={"__main__.py": source}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_the_recipe_runs_what_is_good(tmp_path: Path, beside: bool) -> None:
    made = bundle(tmp_path, GOOD, keys=() if beside else (ALICE,))
    if beside:
        made.sign_beside(ALICE)
    assert made.path.read_bytes()[body(made, "README.txt")] == recipe(signed=not beside)
    assert follow(made.path, tmp_path, signed=not beside) == (0, {"good"})


def body(made: TinyBundle, name: str) -> slice:
    place = made.layout.place(name)
    return slice(place.body, place.body + place.member.size)


def whole(made: TinyBundle, name: str) -> slice:
    place = made.layout.place(name)
    return slice(place.start, place.end)


def spliced(data: bytes, at: slice, piece: bytes) -> bytes:
    return data[: at.start] + piece + data[at.stop :]


Attack = Callable[[TinyBundle, TinyBundle], bytes]


def take(*names: str) -> Attack:
    """The good bundle with entries of the evil one."""

    def attack(good: TinyBundle, evil: TinyBundle) -> bytes:
        data = good.path.read_bytes()
        for name in names:
            piece = evil.path.read_bytes()[body(evil, name)]
            assert len(piece) == good.layout.place(name).member.size
            data = spliced(data, body(good, name), piece)
        return data

    return attack


def front_of(kind: bytes, name: str, link: str) -> Attack:
    """A link under the name of an entry, before everything else."""

    def attack(good: TinyBundle, evil: TinyBundle) -> bytes:
        block = bytearray(tar.header(name=name, size=0))
        block[156:157], block[157 : 157 + len(link)], block[148:156] = kind, link.encode(), b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + good.path.read_bytes()

    return attack


def evil_first(good: TinyBundle, evil: TinyBundle) -> bytes:
    """A second bootstrap.tar before the good one."""
    data, at = good.path.read_bytes(), whole(good, BOOTSTRAP)
    return data[: at.start] + evil.path.read_bytes()[whole(evil, BOOTSTRAP)] + data[at.start :]


SIGNED = f"{BOOTSTRAP}.{ALICE.public.keyid}.sig"
RECIPE: dict[str, Attack] = {
    "a swapped bootstrap": take(BOOTSTRAP),
    "a swapped bootstrap and its signature": take(BOOTSTRAP, SIGNED),
    "an evil bootstrap first": evil_first,
    "a link for the statement": front_of(b"2", STATEMENT, "/dev/null"),
    "a link for the bootstrap": front_of(b"2", BOOTSTRAP, "/tmp/evil.tar"),
    "a hard link for the bootstrap": front_of(b"1", BOOTSTRAP, "/etc/passwd"),
    "a folder for the bootstrap": front_of(b"5", BOOTSTRAP, ""),
    "a pipe for the bootstrap": front_of(b"2", SIGNED, "/dev/zero"),
    "no signature": lambda good, evil: spliced(good.path.read_bytes(), whole(good, SIGNED), b""),
    "no bootstrap": lambda good, evil: spliced(good.path.read_bytes(), whole(good, BOOTSTRAP), b""),
    "nothing": lambda good, evil: b"",
}


@pytest.mark.parametrize("signer", [ALICE, BOB], ids=["the same key, another time", "another key"])
@pytest.mark.parametrize("attack", RECIPE)
def test_the_recipe_stops_before_anything_runs(tmp_path: Path, attack: str, signer: SigningKey) -> None:
    """`bundle.json` is intact each time. The evil bootstrap has a good signature of the right key, or a stranger's."""
    good, evil = bundle(tmp_path, GOOD), bundle(tmp_path / "evil", EVIL)
    data = evil.path.read_bytes()
    evil.path.write_bytes(spliced(data, body(evil, SIGNED), signer.sign(data[body(evil, BOOTSTRAP)])))
    good.path.write_bytes(RECIPE[attack](good, evil))
    code, ran = follow(good.path, tmp_path)
    assert code != 0
    assert ran == set()
