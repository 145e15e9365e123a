"""Session-wide rules: skips are accounted for, long campaigns are asked for, hypothesis is repeatable."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.lab import IMPOSSIBLE, PlatformUpstream, Upstream, running_platform, running_upstream

LONG = os.environ.get("BUNDLE_LONG") == "1"
CI = os.environ.get("CI") == "true"

# The same examples at every run, unless a campaign is asked for: that one looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("long" if LONG else "fixed")

# A shell starts what it puts into the background deaf to Ctrl-C, and the programs that tests start would be too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Skips of what should have run here: (test, reason).
unexcused: list[tuple[str, str]] = []


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """The upstream with library/debian:bookworm-slim. Shared: tests add to it but take nothing away."""
    with running_upstream(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture(scope="session")
def empty_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """An upstream registry without the Debian image: up in a second, for tests that push their own images."""
    with running_upstream(tmp_path_factory.mktemp("upstream"), empty=True) as running:
        yield running


@pytest.fixture(scope="session")
def platform_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformUpstream]:
    """Images, files and charts of a whole platform. Minutes the first time, seconds from the cache; shared."""
    with running_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if LONG:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(IMPOSSIBLE):
        unexcused.append((report.nodeid, reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    note_skip(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if CI and unexcused and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CI and unexcused:
        terminalreporter.section("skipped, though they should have run here (CI=true)", red=True)
        for nodeid, reason in unexcused:
            terminalreporter.line(f"FAILED {nodeid}: {reason}")
