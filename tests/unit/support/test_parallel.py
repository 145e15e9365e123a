import threading
import time

import pytest

from bundler.errors import BundleError, DiskFull, NotFound
from bundler.support.parallel import Stopped, check_stopping, cores, each


def missing(item: object) -> NotFound:
    return NotFound(url="u", what=str(item))


@pytest.mark.parametrize("jobs", [-1, 0, 1, 2, 16])
def test_all_items_in_the_order_given(jobs: int) -> None:
    begun, ended = [], []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.001)
        ended.append(item)

    assert each(iter(range(20)), work, jobs=jobs) == []
    assert begun == list(range(20)) or jobs > 1
    assert sorted(begun) == sorted(ended) == list(range(20))


def test_nothing_to_do() -> None:
    assert each([], missing, jobs=4) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_jobs_at_a_time(jobs: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(item: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    each(range(12), work, jobs=jobs)
    assert most == jobs


def test_every_failure_is_kept() -> None:
    done = []

    def work(item: int) -> None:
        if item % 3 == 0:
            raise missing(item)
        done.append(item)

    failed = each(range(10), work, jobs=4)
    assert sorted(item for item, _ in failed) == [0, 3, 6, 9]
    assert all(isinstance(error, NotFound) and error.what == str(item) for item, error in failed)
    assert sorted(done) == [1, 2, 4, 5, 7, 8]


@pytest.mark.parametrize("error", [DiskFull(path="p", missing=1), ValueError("a bug"), KeyboardInterrupt()])
def test_what_is_fatal_stops_the_rest_soon(error: BaseException) -> None:
    begun, stopped = [], []
    all_running = threading.Barrier(3)

    def work(item: int) -> None:
        begun.append(item)
        all_running.wait(timeout=5)
        if item == 0:
            raise error
        try:
            while True:
                check_stopping()
                time.sleep(0.001)
        except Stopped:
            stopped.append(item)
            raise

    with pytest.raises(type(error)) as caught:
        each(range(100), work, jobs=3, fatal=lambda error: isinstance(error, DiskFull))
    assert caught.value is error
    assert sorted(begun) == [0, 1, 2]
    assert sorted(stopped) == [1, 2]
    check_stopping()  # the next work starts afresh
    assert each([1], lambda item: check_stopping(), jobs=1) == []


def test_stopped_is_no_failure() -> None:
    def work(item: int) -> None:
        raise Stopped

    assert each(range(3), work, jobs=2) == []
    assert not issubclass(Stopped, BundleError)


def test_cores() -> None:
    assert cores() >= 1
