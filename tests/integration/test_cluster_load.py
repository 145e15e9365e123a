"""What measures faults, measured itself: a server that is away for a second, and one that says no."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from tests.apiserver import free_ports
from tests.cluster_load import CLIENT, Client
from tests.load_figures import Asked, Period, interruption, judged, table
from tests.waiting import eventually

pytestmark = pytest.mark.slow
HOST = "127.0.0.1"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/no" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def answering(port: int) -> Iterator[None]:
    server = ThreadingHTTPServer((HOST, port), _Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_second_without_answers_is_seen() -> None:
    (port,) = free_ports(1)
    base = {"kind": "http", "rate": 20, "address": HOST, "port": port, "host": HOST}
    told = {"limit": 1, "targets": [{**base, "name": name, "path": f"/{name}"} for name in ("yes", "no")]}
    client = Client("here", [sys.executable, str(CLIENT), json.dumps(told)])
    period = Period(fault="away", began=time.time(), without=frozenset())
    with answering(port):
        client.start()
        eventually(lambda: sum(each.ok for each in client.asked) > 5)
    time.sleep(1.2)
    with answering(port):
        before = len(client.asked)
        eventually(lambda: sum(each.ok for each in client.asked[before:]) > 5)
        client.end()
    period.ended = time.time()
    period.figures = judged(period, client.asked)
    yes, no = period.of("yes"), period.of("no")
    assert "ConnectionRefusedError" in yes.outcomes
    assert 1 < yes.interruption < 30
    due = sorted(each.due for each in client.asked if each.path == "yes")
    assert max(after - before for before, after in pairwise(due)) < 0.06, (
        "what cannot be answered is asked all the same"
    )
    assert no.failed == no.requests
    assert "status-404" in no.outcomes
    assert len(table([period]).splitlines()) == 3


def asked(*outcomes: str) -> list[Asked]:
    """One a second."""
    return [
        Asked(client="a", path="p", number=at, due=float(at), seconds=0.1, outcome=outcome)
        for at, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("outcomes", "longest"),
    [
        (("ok", "ok", "ok"), 0.0),
        (("ok", "silent", "ok"), 2.0),
        (("ok", "silent", "ok", "silent", "silent", "ok", "silent", "ok"), 3.0),
        (("silent", "silent", "ok"), 2.0),
        (("ok", "silent", "silent"), 3.0),
    ],
)
def test_the_longest_time_without_a_success(outcomes: tuple[str, ...], longest: float) -> None:
    assert interruption(asked(*outcomes), ended=3.0) == longest


def test_clients_on_hosts_that_were_taken_away_do_not_count() -> None:
    period = Period(fault="f", began=0.0, without=frozenset({"a"}), ended=3.0)
    assert judged(period, asked("ok", "silent", "ok")) == []
