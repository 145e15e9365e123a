"""scripts/bench: what it measures with, and a run on next to nothing."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.lab.bench_measure import Bench, Way, fastest
from scripts.lab.bench_report import Target, target_table
from tests.lab import ROOT, SCRIPTS, lab_program, require_go_tool, require_program


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, {})


def test_ways_run_equally_often_and_the_fastest_is_found(bench: Bench, tmp_path: Path) -> None:
    ways = [
        Way(name=name, script=f"echo {name} >>{tmp_path}/order; sleep {time}") for name, time in (("a", 0.3), ("b", 0))
    ]
    found = bench.alternate(ways, 2)
    assert (tmp_path / "order").read_text().split() == ["a", "b", "a", "b", "b", "a"]
    assert [len(each.runs) for each in found] == [2, 2]
    assert found[0].seconds >= 0.3
    assert fastest(found, lambda way: True).way.name == "b"


def test_memory_disk_and_processor_are_seen(bench: Bench) -> None:
    take = "block = b'x' * (96 << 20)"
    script = f'head -c 8M /dev/urandom >$OUT/a; cp $OUT/a $OUT/b; sleep 0.3; rm $OUT/b; {sys.executable} -c "{take}"'
    (found,) = bench.alternate([Way(name="way", script=script, output=8 << 20)], 1)
    assert 96 << 20 <= found.memory < 160 << 20
    assert 16 << 20 <= found.disk < 17 << 20
    assert 8 << 20 <= found.left < 9 << 20
    assert 0 < found.cpu < 5


def test_what_comes_over_the_network_is_seen(bench: Bench) -> None:
    with sender(bytes(8 << 20)) as port:
        read = f"exec 7<>/dev/tcp/127.0.0.1/{port}; printf x >&7; head -c 8388608 <&7 >/dev/null"
        (found,) = bench.alternate([Way(name="way", script=read)], 2)
    assert found.received >= 8 << 20


@pytest.mark.parametrize(("script", "says"), [("echo this >&2; exit 3", "this"), ("true", "wrote 0 bytes")])
def test_a_way_that_does_not_do_the_work_ends_the_bench(bench: Bench, script: str, says: str) -> None:
    with pytest.raises(SystemExit, match=f"(?s)lame .*{says}"):
        bench.alternate([Way(name="lame", script=script, output=1)], 1)


def test_targets_are_judged_on_the_right_side() -> None:
    targets = [
        Target(what="time", value=1.01, limit=1.0),
        Target(what="speed", value=0.95, limit=0.9, least=True),
        Target(what="memory", value=60.0, limit=60.0, unit="MB"),
    ]
    assert [target.met for target in targets] == [False, True, True]
    assert "MISSED" in target_table(targets[:1])
    assert "MISSED" not in target_table(targets[1:])


@contextmanager
def sender(data: bytes) -> Iterator[int]:
    """The port of a server that answers each byte of a request with all of `data`."""

    def answer(client: socket.socket) -> None:
        with client:
            while client.recv(1):
                client.sendall(data)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def proxy(port: int, *, rate: float, latency: float) -> Iterator[int]:
    command = [sys.executable, "-m", "scripts.lab.bench_proxy", f"127.0.0.1:{port}", "--rate", str(rate)]
    with subprocess.Popen(
        [*command, "--latency", str(latency)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_the_slow_link_delays_and_paces_every_answer_and_changes_none() -> None:
    data = bytes(range(256)) * 4096
    with (
        sender(data) as port,
        proxy(port, rate=4e6, latency=0.1) as slow,
        socket.create_connection(("127.0.0.1", slow)) as client,
        client.makefile("rb") as stream,
    ):
        times = []
        for _ in range(2):
            start = time.monotonic()
            client.sendall(b"?")
            first = stream.read(1)
            begun = time.monotonic() - start
            assert first + stream.read(len(data) - 1) == data
            times.append((begun, time.monotonic() - start))
    needed = len(data) / 4e6
    (first_begun, first_done), (begun, done) = times
    assert first_begun >= 0.2  # the handshake's latency, too
    assert 0.1 <= begun < 0.1 + needed / 2
    assert needed + 0.09 <= done < 3 * needed
    assert first_done >= needed + 0.19


def test_a_run_on_next_to_nothing_shows_every_contender_and_target(tmp_path: Path) -> None:
    require_program("skopeo")
    require_go_tool("crane")
    shown = tmp_path / "table.md"
    options = ["--runs", "1", "--images", "2", "--layers", "2", "--bytes", "64K", "--work", str(tmp_path / "work")]
    done = subprocess.run(
        [SCRIPTS / "bench", "all", *options, "--markdown", shown], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert shown.read_text() == done.stdout
    for contender in (
        "bundle ",
        "skopeo sync",
        "crane pull",
        "oras cp",
        "oras backup",
        "regctl image",
        "openssl",
        "curl",
    ):
        assert f"| {contender}" in done.stdout, contender
    targets = done.stdout.partition("### Targets")[2].strip().splitlines()[2:]
    assert len(targets) == 11
    assert all(line.endswith(("| met    |", "| MISSED |")) or " met |" in line for line in targets)


@pytest.mark.long
def test_a_whole_platform_step_by_step_and_two_of_its_images_beside_the_others(tmp_path: Path) -> None:
    require_program("skopeo")
    require_go_tool("crane")
    lab_program("helm")
    work = tmp_path / "work"
    options = ["--small", "--images", "2", "--runs", "1", "--work", str(work)]
    done = subprocess.run([SCRIPTS / "bench", "platform", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("| ")}
    for step in ("lock", "check LOCK", "create", "verify", "check BUNDLE", "install", "bundle", "skopeo sync dir:"):
        assert step in rows, step
    received, left = (int(cell.replace(",", "")) * 10**6 for cell in rows["create"].split("|")[6:8])
    size = (work / "platform.bundle").stat().st_size
    assert left == pytest.approx(size, abs=2 * 10**6)
    assert received >= 0.95 * size
    assert subprocess.run(["pgrep", "-f", str(work)], check=False, capture_output=True).stdout == b""  # all stopped


def test_patches_are_measured(tmp_path: Path) -> None:
    """On next to nothing: what is made is rebuilt, and a changed file is a small part of a layer, whoever made it."""
    require_program("zstd")
    line = [sys.executable, "-m", "scripts.lab.bench_delta", "--work", str(tmp_path), "--layer", "4", "--model", "3"]
    done = subprocess.run([*line, "layers", "models", "drivers"], cwd=ROOT, capture_output=True, text=True, check=True)
    shares = {row.split("|")[1].strip(): row.split("|")[4] for row in done.stdout.splitlines() if " MB" in row}
    for encoder in ("zlib 6", "GNU gzip 6", *(("Go gzip 6", "Go gzip 1") if shutil.which("go") else ())):
        assert float(shares[f"4 MB tar, {encoder}"].strip(" %")) < 5
    assert float(shares["3 MB, 1 % changed"].strip(" %")) < 5
