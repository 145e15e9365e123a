"""Compressors that are programs: what they give is the whole, they end with whoever has them, and they may fail."""

import platform
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import Malformed
from bundler.patch import programs
from bundler.patch.coders import candidates, encoder, usable
from bundler.patch.parts import DEFLATE
from bundler.patch.programs import Gzip, gnu_gzip, go_gzip
from tests.patched import text

PLAIN = text(7, 3_000_000)
# What `gzip.NewWriter` of Go 1.26 makes of b"bundle " * 20, between the member's head and its foot.
OF_GO = "4a2acd4bc94955181414200000ffff"


def children() -> set[str]:
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize("one", [go_gzip, gnu_gzip])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_all_that_goes_in_comes_out(one: Callable[[int], Gzip], level: int) -> None:
    made = one(level)
    out = b"".join(made.compress(PLAIN[at : at + 100_000]) for at in range(0, len(PLAIN), 100_000)) + made.flush()
    assert zlib.decompress(out, -15) == PLAIN


@pytest.mark.parametrize("one", [go_gzip, gnu_gzip])
def test_of_nothing(one: Callable[[int], Gzip]) -> None:
    assert zlib.decompress(one(6).flush(), -15) == b""


def test_what_go_makes() -> None:
    made = go_gzip(6)
    assert (made.compress(b"bundle " * 20) + made.flush()).hex() == OF_GO


@pytest.mark.parametrize("level", [1, 9])
def test_one_that_nobody_has_any_more_is_ended(level: int) -> None:
    before = children()
    made = go_gzip(level)
    made.compress(PLAIN)
    its = children() - before
    assert its
    del made
    assert not its & children()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("false",), "exit code 1|Broken pipe"),
        (("/nowhere/gzip",), "No such file"),
        (("/",), "Permission denied"),
        (("sleep", "100"), "it did nothing for 0.1 s"),
        (("sh", "-c", "cat > /dev/null; echo; exec >&-; sleep 100"), "it did not end within 0.1 s"),
    ],
)
def test_a_program_that_fails(command: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PATIENCE", 0.1)
    with pytest.raises(Malformed, match=said):  # noqa: PT012 (either of them)
        made = Gzip(*command)
        made.compress(PLAIN)
        made.flush()


def test_a_machine_that_lacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known settings they stay, for who reads a patch: only that nobody can work with them here."""
    assert {"go-6", "gnu-6"} <= set(usable(DEFLATE))
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", "/nowhere")
    programs._go_program.cache_clear()
    try:
        assert not [each for each in usable(DEFLATE) if each.startswith("g")]
        for coder, said in (("go-6", "riscv64"), ("gnu-6", "no gzip")):
            assert coder in candidates(DEFLATE)
            with pytest.raises(Malformed, match=said):
                encoder(DEFLATE, coder, 3)
    finally:
        programs._go_program.cache_clear()
