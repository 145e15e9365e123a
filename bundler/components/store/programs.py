"""Programs that the release carries as files, in an archive or by themselves."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bundler.components.store import ROOT
from bundler.model.lock import LockedFile
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts

_RECORDS = "/var/lib/bundle/programs"  # what each was unpacked from
_STATE = "stat -c '%n %s %Y %i'"  # what a replaced, cut or restored file does not keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a host gets files of the release: from its own disk, or from a site host, whose certificate `ca` proves."""

    url: str = ""
    ca: str = ""

    def text(self, name: str, target: str) -> str:
        """sh text that brings the file `name` to `target`, or goes on bringing it."""
        if not self.url:
            return f"ln -sf {shlex.quote(f'{ROOT}/current/files/{name}')} {target}"
        url = shlex.quote(f"{self.url}/{name}")
        return f"curl -fsS --retry 3 --cacert {shlex.quote(self.ca)} --noproxy '*' -C - -o {target} {url}"


@dataclass(frozen=True, kw_only=True)
class Programs:
    """`members` of a gzip'ed tar by their paths on the host; one member without a name is the file itself. With `proof`
    as its argument the first must run before any takes the place of an older one. `version` is for people."""

    name: str
    file: LockedFile
    members: tuple[tuple[str, str], ...]
    source: Source
    proof: str
    version: str

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(path for _, path in self.members)

    @property
    def _record(self) -> str:
        return f"{_RECORDS}/{self.name}"

    @property
    def fact(self) -> Ask[str]:
        record, paths = shlex.quote(self._record), shlex.join(self._paths)
        script = f"""[ -f {record} ] && {{ read -r digest; state=$(cat); }} < {record} || exit 0
[ "$state" != "$({_STATE} -- {paths} 2>/dev/null)" ] || echo "$digest\""""
        return Ask(name=f"what {self.name} is from", script=script, reading=str.strip, bare="")

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self.fact]
        if have != str(self.file.digest):
            why = "it is of another release" if have else "it is not there"
            yield Run(name=f"unpack {self.name} {self.version}", text=self._unpack(), timeout=1800, reason=why)

    def _unpack(self) -> str:
        name, record, first = self.file.name, shlex.quote(self._record), shlex.quote(f"{self._paths[0]}.bundle-new")
        got, out = shlex.quote(f"{_RECORDS}/{name}.part"), shlex.quote(f"{_RECORDS}/{self.name}.files")
        lines = [
            f"umask 022; mkdir -p {_RECORDS} || exit 1",
            f'is_whole() {{ [ -f {got} ] && [ "$(sha256sum < {got})" = "{self.file.digest.hex}  -" ]; }}',
            f"is_whole || {self.source.text(name, got)} || exit 1",
            f"is_whole || {{ rm -f {got}; echo {shlex.quote(f'{name} is another file')} >&2; exit 1; }}",
            f"rm -rf {out}; mkdir {out} || exit 1",
        ]
        if self.members[0][0]:
            lines.append(f"tar -xzf {got} -C {out} --no-same-owner || exit 1")
        for member, path in self.members:
            unpacked = f"{out}/{shlex.quote(member)}" if member else got
            new, folder = shlex.quote(f"{path}.bundle-new"), shlex.quote(str(PurePosixPath(path).parent))
            lines.append(f"mkdir -p {folder} && cp -- {unpacked} {new} && chmod 755 {new} && sync {new} || exit 1")
        lines.append(f"{first} {self.proof} >/dev/null || exit 1")
        lines.append(f"rm -f {record}")
        lines += [f"mv -fT {shlex.quote(f'{path}.bundle-new')} {shlex.quote(path)} || exit 1" for path in self._paths]
        lines.append(
            f"{{ echo {self.file.digest}; {_STATE} -- {shlex.join(self._paths)}; }} > {record}.new && "
            f"sync {record}.new && mv -T {record}.new {record} && rm -rf {out} {got}"
        )
        return "\n".join(lines) + "\n"

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[self.fact]:
            for path in (*self._paths, self._record):
                yield Remove(path=path, reason="it is ours")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if have := facts[self.fact]:
            yield f"{self.name} {self.version if have == str(self.file.digest) else 'of another release'}"
