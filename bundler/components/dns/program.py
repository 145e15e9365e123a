"""A program that the release carries in an archive, among its files."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bundler.components.store import ROOT
from bundler.model.digest import Digest
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts

_STATE = "stat -c '%s %Y %i'"  # what a replaced, cut or restored file does not keep


@dataclass(frozen=True, kw_only=True)
class Program:
    """`member` of the gzip'ed tar `archive`, at `path`. Beside it PATH.from says what it was unpacked from. With
    `proof` as its argument the program must run before it takes the place of an older one. `version` is for people."""

    archive: str
    digest: Digest
    member: str
    path: str
    proof: str
    version: str

    @property
    def _record(self) -> str:
        return f"{self.path}.from"

    @property
    def _fact(self) -> Ask[str]:
        path, record = shlex.quote(self.path), shlex.quote(self._record)
        script = f"""[ -x {path} ] && read -r digest state < {record} || exit 0
[ "$state" != "$({_STATE} -- {path})" ] || echo "$digest\""""
        return Ask(name=f"what {self.path} is from", script=script, reading=str.strip, bare="")

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self._fact]
        if have != str(self.digest):
            why = "it is of another release" if have else "it is not there"
            yield Run(name=f"unpack {self.path}", text=self._unpack(), reason=why)

    def _unpack(self) -> str:
        archive, member = shlex.quote(f"{ROOT}/current/files/{self.archive}"), shlex.quote(self.member)
        path, record = shlex.quote(self.path), shlex.quote(self._record)
        folder = shlex.quote(str(PurePosixPath(self.path).parent))
        return f"""umask 022; mkdir -p {folder} || exit 1
[ "$(sha256sum < {archive})" = "{self.digest.hex}  -" ] || {{ echo {archive} is another file >&2; exit 1; }}
tar -xzOf {archive} -- {member} > {path}.new && chmod 755 {path}.new && {path}.new {self.proof} || exit 1
sync {path}.new && rm -f {record} && mv -T {path}.new {path} || exit 1
printf '%s %s\\n' {self.digest} "$({_STATE} -- {path})" > {record}.new && mv -T {record}.new {record} && sync {folder}
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[self._fact]:
            yield Remove(path=self.path, reason="it is ours")
            yield Remove(path=self._record, reason="it is ours")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if have := facts[self._fact]:
            yield f"{self.member} {self.version if have == str(self.digest) else 'of another release'}"
