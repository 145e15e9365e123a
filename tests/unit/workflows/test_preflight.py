"""What could not be asked is shown together with what was found, and never instead of it."""

from pathlib import Path

import pytest

from bundler.errors import BundleError, FactUnknown, HostUnreachable, NoPrivilege
from bundler.steps.facts import Facts
from bundler.steps.step import Check, Finding
from bundler.workflows.preflight import judged, not_ready
from tests.bundles import tiny_bundle
from tests.goals import goal_of

STOPS = Finding(host="n1", check="port", found="port 53 is taken", fix="Free it.")
WARNS = Finding(host="n1", check="swap", found="it swaps", fix="Do not.", warning=True)
GONE = HostUnreachable(host="n2", why="there is no route", said="No route to host", advice="See its route.")
LOCKED = NoPrivilege(host="n3", user="ops", why="no sudo", advice="Install sudo.")
UNKNOWN = FactUnknown(host="n1", fact="x", why="code 1")


@pytest.mark.parametrize(
    ("findings", "errors", "shown", "warnings"),
    [
        ([STOPS], [], 1, 0),
        ([STOPS, WARNS], [GONE, LOCKED], 3, 1),
        ([STOPS], [UNKNOWN], 1, 0),  # n1 has a finding that may be the cause
        ([STOPS], [FactUnknown(host="n2", fact="x", why="code 1")], 2, 0),
    ],
)
def test_all_is_shown(findings: list[Finding], errors: list[BundleError], shown: int, warnings: int) -> None:
    stopped = not_ready(findings, errors)
    assert stopped is not None
    assert (len(stopped.findings), len(stopped.warnings)) == (shown, warnings)
    assert "nothing was changed" in stopped.summary
    assert stopped.detail.count("fix: ") == shown + warnings - (1 if shown == 2 else 0)


def test_warnings_and_errors_alone_stop_by_their_own_errors() -> None:
    assert not_ready([WARNS], [GONE]) is None
    assert not_ready([]) is None


def test_a_check_without_its_answer_keeps_no_other_from_judging(tmp_path: Path) -> None:
    def lacking(*_: object) -> list[Finding]:
        raise UNKNOWN

    goal = goal_of(tiny_bundle(tmp_path), {})
    checks = [
        Check(name="one", asks=lambda goal, host: (), judge=lacking),
        Check(name="two", asks=lambda goal, host: (), judge=lambda goal, hosts, facts: [STOPS]),
    ]
    first, second = judged(goal, checks, goal.site.hosts, Facts({}))
    assert (first.host, first.check, first.warning) == ("n1", "one", False)
    assert second == STOPS
