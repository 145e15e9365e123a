"""Where uv is."""

import subprocess
import sys

ALL_AT_ONCE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor

import uv
from bundler.sources.uv import _uv_program

sys.setswitchinterval(1e-6)
start = threading.Barrier(8)

def ask(_):
    start.wait()
    return _uv_program()

with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(ask, range(8)))))
"""


def test_threads_find_uv_at_the_same_moment() -> None:
    """In processes of their own: only the first question of a process fills sysconfig's table."""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", ALL_AT_ONCE], capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("1", "")
