"""Probes: small Python programs that ask a service on its own host. Hosts with the role `site` have a python3."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

from bundler.steps.facts import Fact

_END = "BUNDLE_PROBES_END_HERE"
SECONDS = 20  # for one probe

# All probes of a look by one interpreter: to start it, and to load what they import, is most of what they cost. Each
# runs in a process of its own, beside the others; a line of JSON for each says how it ended, and what it printed.
_RUNNER = """
import json, os, signal, sys, traceback
runs = []
for number, text, arguments in PROBES:
    program = {"__name__": "probe"}
    exec(compile(text, number, "exec"), program)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.dup2(theirs, 1)
            signal.alarm(SECONDS)
            sys.argv[1:] = arguments
            program["main"]()
            sys.stdout.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(theirs)
    runs.append((child, ours))
for child, ours in runs:
    with os.fdopen(ours, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    print(json.dumps([os.waitpid(child, 0)[1], said]))
"""


@dataclass(frozen=True, kw_only=True)
class Probe(Fact[Any]):
    """The program of that name in `package`'s folder, run on the host with `arguments`, which everybody there may see.

    It has a `main`, which prints one JSON document: the answer. A bare host's is `{}`.
    """

    name: str
    package: str
    program: str
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.name

    @property
    def nothing(self) -> Any:
        return {}

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        probes = [
            (fact.name, files(fact.package).joinpath(fact.program).read_text(encoding="utf-8"), fact.arguments)
            for fact in facts
        ]
        given = f"SECONDS, PROBES = {SECONDS}, {probes!a}"
        return f"timeout {2 * SECONDS} python3 -IS - <<'{_END}'\n{given}{_RUNNER}{_END}"

    def parse(self, line: str) -> Any:
        code, said = json.loads(line)
        if code:
            raise ValueError(f"the probe ended with {code}")
        return json.loads(said)


def probe(name: str, package: str, program: str, arguments: Iterable[str]) -> Probe:
    return Probe(name=name, package=package, program=program, arguments=tuple(arguments))
