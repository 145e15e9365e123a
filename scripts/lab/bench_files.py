"""One large file over a link that gives each connection so many bytes a second: `bundle create` with 1, 4 and 8 jobs.

`python -m scripts.lab.bench_files --bytes 3e9 --rate 50e6` prints a line for each: seconds, MB/s, peak memory.
"""

import argparse
import functools
import hashlib
import http.server
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_MIB = 1 << 20


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one file, ranges too, by sendfile."""

    protocol_version = "HTTP/1.1"

    def __init__(self, path: Path, *arguments: object) -> None:
        self._path = path
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        size = self._path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        end = min(int(match[2]) + 1, size) if match and match[2] else size
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", '"1"')
        if match:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        with self._path.open("rb") as file:
            while self.command == "GET" and start < end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(end - start, _MIB))

    def do_HEAD(self) -> None:
        self.do_GET()


def prepare(folder: Path, size: int) -> Path:
    """A file that nothing compresses, a manifest that names it, and a key."""
    path, chance, digest = folder / "driver.run", random.Random(1), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            file.write(data := chance.randbytes(_MIB))
            digest.update(data)
    for kind in ("components", "profiles"):
        (folder / "manifests" / kind).mkdir(parents=True)
    entry = f"name: driver.run, url: 'https://vendor.example/driver.run', digest: 'sha256:{digest.hexdigest()}'"
    (folder / "manifests/components/bench.yaml").write_text(f"component: bench\nfiles:\n- {{{entry}}}\n")
    (folder / "manifests/profiles/bench.yaml").write_text(
        "profile: bench\nrelease: {line: bench, number: 1}\nplatforms: [linux/amd64]\n"
        "bootstrap: {python: []}\ncomponents: [bench]\n"
    )
    bundle(folder, "keys", "create", "release")
    return path


def bundle(folder: Path, *arguments: str) -> tuple[float, int]:
    """Seconds, and the peak of resident memory in KiB."""
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "bundler", *arguments], cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - start, usage.ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=float, default=1e9)
    parser.add_argument("--rate", type=float, default=50e6, metavar="BYTES", help="of one connection, in a second")
    parser.add_argument("--latency", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4, 8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-files-") as name:
        folder = Path(name)
        path = prepare(folder, int(options.bytes))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, path))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        link = [sys.executable, "-m", "scripts.lab.bench_proxy", f"127.0.0.1:{server.server_port}"]
        link += ["--rate", str(options.rate), "--latency", str(options.latency)]
        with subprocess.Popen(link, cwd=ROOT, stdout=subprocess.PIPE, text=True) as proxy:
            assert proxy.stdout is not None
            upstream = ["--upstream", f"vendor.example=http://127.0.0.1:{proxy.stdout.readline().strip()}"]
            bundle(folder, "lock", "-p", "bench", "-o", "bench.lock", *upstream)
            for jobs in options.jobs:
                out = ["--lock", "bench.lock", "--key", "release.key", "-o", f"{jobs}.bundle", "-q", "-j", str(jobs)]
                seconds, peak = bundle(folder, "create", *out, *upstream)
                rate = path.stat().st_size / seconds / 1e6
                print(f"jobs {jobs}: {seconds:.1f} s, {rate:.0f} MB/s, {peak / 1024:.0f} MiB at most", flush=True)
                (folder / f"{jobs}.bundle").unlink()
            proxy.terminate()


if __name__ == "__main__":
    main()
