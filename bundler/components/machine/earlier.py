"""What was installed on a site host before: a store that would refuse the release."""

import json
from collections.abc import Iterator
from typing import Any

from bundler.components.machine import kinds
from bundler.components.machine.asking import Said, always, each, lines
from bundler.components.store import ROOT, apt_key
from bundler.model.digest import Digest
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.signing.keys import PublicKey
from bundler.steps.step import Check, Finding, Goal

STORE = lines(
    "its store",
    f"""if [ -f {ROOT}/state/site.json ]; then printf 'state '; head -c 65536 {ROOT}/state/site.json; echo; fi
if [ -f {ROOT}/keys/apt.secret.asc ]; then
  h=$(sha256sum < {ROOT}/keys/apt.secret.asc) && echo "key ${{h%% *}}"; fi""",
)


def judge_store(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    if state := said.one("state"):
        try:
            yield from _state(goal, host, json.loads(state))
        except (ValueError, KeyError, TypeError, AttributeError):
            yield kinds.UNASKED.at(host.name, fact=f"{ROOT}/state/site.json", why="it is damaged")
    if said.one("key") not in ("", Digest.of(apt_key(goal).secret.reveal().encode()).hex):
        yield kinds.OTHER_STORE.at(host.name)


def _state(goal: Goal, host: SiteHost, state: dict[str, Any]) -> Iterator[Finding]:
    pinned = {PublicKey(bytes.fromhex(raw)) for raw in state["trust"]["keys"]}
    if foreign := [key.keyid for key in goal.trust if key not in pinned]:
        shown = ", ".join(sorted(key.keyid for key in pinned))
        yield kinds.TRUST.at(host.name, pinned=shown, given=", ".join(foreign), root=ROOT)
    release = goal.statement.release
    for known in state["releases"]:
        newer = known["number"] > release.number
        other = known["number"] == release.number and known["content"] != str(goal.statement.content)
        if known["line"] == release.line and (newer or other):
            given = f"{release} with other content" if other else str(release)
            yield kinds.OLDER.at(host.name, known=f"{known['line']} {known['number']}", given=given)


CHECKS: tuple[Check, ...] = (each("machine: store", always(STORE), judge_store, roles=(SITE_ROLE,)),)
