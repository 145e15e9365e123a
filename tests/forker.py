"""Kills `create` of volumes at any moment without paying for a new interpreter each time.

    python -m tests.forker FOLDER VOLUME

For each line on standard input, a number of seconds, a child begins to make FOLDER/o.bundle.* from FOLDER/lock, and
is killed after that time; what became of it is printed: `killed`, or its exit code.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from bundler.catalog.manifests import Manifests
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows.places import Places
from tests.bundles import ALICE, SOURCES


def main(folder: Path, volume: int) -> None:
    module.tool_sources = lambda: SOURCES  # type: ignore[attr-defined]
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            make(folder, volume)
        print(until(child, float(line)), flush=True)


def make(folder: Path, volume: int) -> None:
    code = 1
    try:
        places = Places(manifests=Manifests(folders=(folder,)))
        arguments = {"keys": (ALICE,), "places": places, "jobs": 2, "progress": Silent(), "volume": volume}
        module.create(folder / "lock", folder / "o.bundle", **arguments)  # type: ignore[arg-type]
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def until(child: int, seconds: float) -> str:
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return str(os.waitstatus_to_exitcode(status))
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed"
        time.sleep(0.001)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
