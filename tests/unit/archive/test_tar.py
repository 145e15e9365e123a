import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bundler.archive import tar
from bundler.archive.layout import Layout, Member, lay_out
from tests.lab import require_program

LARGEST = (1 << 53) - 1
sizes = (
    st.integers(0, 3000)
    | st.integers(tar.ALIGNED_FROM - 2, tar.ALIGNED_FROM + 9000)
    | st.integers(tar.USTAR_LIMIT - 2, LARGEST)
)
names = st.text("abcDEF019._-", min_size=1, max_size=110)
paths = st.lists(names, min_size=1, max_size=4).map("/".join).filter(lambda path: len(path) < 400)
members = st.lists(
    st.builds(Member, name=paths, size=sizes, shared=st.booleans()), max_size=6, unique_by=lambda member: member.name
)


class Framed(io.RawIOBase):
    """The file of a layout, as large as it likes to be: headers where they belong, zeros everywhere else."""

    def __init__(self, layout: Layout) -> None:
        self.at, self.size = 0, layout.size
        self.parts = {place.start: place.header for place in layout.places}

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        count = max(0, min(count if count >= 0 else self.size, self.size - self.at))
        data = bytearray(count)
        for start, part in self.parts.items():
            low, high = max(start, self.at), min(start + len(part), self.at + count)
            if low < high:
                data[low - self.at : high - self.at] = part[low - start : high - start]
        self.at += count
        return bytes(data)


@given(members)
def test_layout(members: list[Member]) -> None:
    layout = lay_out(members)
    end = 0
    for place, member in zip(layout.places, members, strict=True):
        assert place.member is member
        assert place.start == end  # in order, without overlap and without a hole
        assert place.body == place.start + len(place.header)
        assert place.end == place.body + member.size + len(place.padding)
        assert place.start % tar.BLOCK == place.body % tar.BLOCK == place.end % tar.BLOCK == 0
        assert place.padding == bytes(-member.size % tar.BLOCK)
        if member.shared and member.size >= tar.ALIGNED_FROM:
            assert place.body % tar.ALIGNMENT == 0
        assert layout.place(member.name) is place
        end = place.end
    assert layout.size == end + 2 * tar.BLOCK


@given(members)
def test_tarfile_reads_what_we_laid_out(members: list[Member]) -> None:
    assume(not any(member.name.endswith("/") or "//" in member.name for member in members))
    layout = lay_out(members)
    with tarfile.open(fileobj=Framed(layout), mode="r:") as archive:
        found = archive.getmembers()
    assert [(each.name, each.size, each.offset_data) for each in found] == [
        (place.member.name, place.member.size, place.body) for place in layout.places
    ]
    for each in found:
        assert each.isreg()
        assert (each.mode, each.uid, each.gid, each.mtime, each.uname, each.gname, each.linkname) == (
            0o644,
            0,
            0,
            0,
            "",
            "",
            "",
        )


@given(st.integers(0, 1 << 44).map(lambda blocks: blocks * tar.BLOCK), sizes, paths)
def test_an_aligned_body_starts_on_a_page(offset: int, size: int, name: str) -> None:
    header = tar.header(name=name, size=size, aligned=True, offset=offset)
    assert (offset + len(header)) % tar.ALIGNMENT == 0
    assert len(header) <= 3 * tar.ALIGNMENT
    assert header == tar.header(name=name, size=size, aligned=True, offset=offset)
    assert all(tar.sound(block) for block in (header[:512], header[-512:]))


@pytest.mark.parametrize("digits", range(10, 17))
@pytest.mark.parametrize("blocks", range(8))
def test_every_size_and_offset_finds_its_comment(digits: int, blocks: int) -> None:
    """A record of 100 or 1000 bytes in all does not exist: its length would change by writing it."""
    size = max(10 ** (digits - 1), tar.USTAR_LIMIT)
    header = tar.header(name="x", size=size, aligned=True, offset=blocks * tar.BLOCK)
    assert (blocks * tar.BLOCK + len(header)) % tar.ALIGNMENT == 0


def test_a_plain_header_is_one_block() -> None:
    assert tar.header(name="bundle.json", size=tar.USTAR_LIMIT - 1) == (
        b"bundle.json".ljust(100, b"\0")
        + b"0000644\0" + b"0000000\0" + b"0000000\0" + b"77777777777\0" + b"00000000000\0" + b"011454\0 " + b"0"
        + bytes(100)
        + b"ustar\00000"
        + bytes(64)
        + b"0000000\0" + b"0000000\0"
        + bytes(167)
    )  # fmt: skip
    assert tar.header(name="x", size=0, aligned=True, offset=4096 - 512) == tar.header(name="x", size=0)


@pytest.mark.parametrize(
    ("name", "prefix", "short"),
    [
        ("a" * 100, b"", b"a" * 100),
        ("p/" + "a" * 100, b"p", b"a" * 100),
        ("p" * 155 + "/" + "a" * 100, b"p" * 155, b"a" * 100),
        ("p" * 50 + "/" + "q" * 50 + "/a", b"p" * 50 + b"/" + b"q" * 50, b"a"),
    ],
)
def test_a_long_name_is_split(name: str, prefix: bytes, short: bytes) -> None:
    block = tar.header(name=name, size=0)
    assert len(block) == tar.BLOCK
    assert (block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")) == (prefix, short)


@pytest.mark.parametrize("name", ["a" * 101, "p/" + "a" * 101, "p" * 156 + "/a", "p" * 200 + "/" + "a" * 200])
def test_a_longer_name_is_a_pax_record(name: str) -> None:
    header = tar.header(name=name, size=0)
    assert len(header) == 3 * tar.BLOCK
    assert f" path={name}\n".encode() in header


@pytest.mark.parametrize("flip", [0, 100, 124, 150, 156, 257, 511])
def test_sound(flip: int) -> None:
    block = bytearray(tar.header(name="x", size=5))
    assert tar.sound(bytes(block))
    block[flip] ^= 1
    assert not tar.sound(bytes(block))


def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    """With a hole of more than 8 GiB in the middle, which costs nothing on the disk."""
    program = require_program("tar")
    long = "bootstrap/wheels/" + "long_name-" * 12 + "1.0-py3-none-any.whl"
    members = [
        Member(name="bundle.json", size=5),
        Member(name=long, size=3),
        Member(name="blobs/sha256/large", size=tar.USTAR_LIMIT + 1, shared=True),
        Member(name="blobs/sha256/aligned", size=tar.ALIGNED_FROM, shared=True),
        Member(name="p" * 60 + "/" + "q" * 60 + "/last", size=4),
    ]
    layout, path = lay_out(members), tmp_path / "x.tar"
    with path.open("wb") as file:
        for place in layout.places:
            file.seek(place.start)
            file.write(place.header)
            file.write(b"body"[: place.member.size])
        file.truncate(layout.size)
    done = subprocess.run([program, "-tvf", path], capture_output=True, text=True, env={"LC_ALL": "C", "TZ": "UTC"})
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split() for line in done.stdout.splitlines()]
    assert [(mode, owner, int(size), name) for mode, owner, size, _, _, name in listed] == [
        ("-rw-r--r--", "0/0", member.size, member.name) for member in members
    ]
    subprocess.run([program, "-xf", path, "-C", tmp_path, long, members[-1].name], check=True)
    assert (tmp_path / long).read_bytes() == b"bod"
    assert (tmp_path / members[-1].name).read_bytes() == b"body"
