"""Facts: questions asked of a host, and pure parsers of the answers.

"There is no such unit" is an answer; that a question could not be asked is not. All facts of one kind are asked
together, and all kinds in one script, so that a host answers everything in one round trip.
"""

import base64
import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from bundler.errors import FactUnknown, Malformed
from bundler.model.digest import Digest

T = TypeVar("T")
STAMPS = "/var/lib/bundle/units"  # what each unit was last started with by us
SHOWN = 64 << 10  # bytes of a text file that a difference is shown of


@dataclass(frozen=True, kw_only=True)
class Fact(Generic[T]):
    """`after` names the step that makes the question askable, and is empty where it always is. While that step still
    has something to do the fact is pending, and its readers plan from `nothing`."""

    after: str = ""

    @property
    def label(self) -> str:
        """What it asks for, for a reader."""
        raise NotImplementedError

    @property
    def nothing(self) -> T:
        """The answer of a bare host."""
        raise NotImplementedError

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        """An sh text that prints one line for each fact, in order, and ends with 0 when it could ask."""
        raise NotImplementedError

    def parse(self, line: str) -> T:
        """Raises ValueError for a line that is no answer."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """`kind` is what stat(1) calls it, `content` the text of a small file, or None. `link` is a symlink's target."""

    kind: str
    mode: int
    owner: str
    group: str
    size: int = 0
    digest: Digest | None = None
    content: str | None = None
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class FileFact(Fact[FileState | None]):
    """What lies at a path; None is nothing. A `secret` file's content stays on the host, and so does that of one which
    nobody but its owner may read: what is to take its place may be no secret, but what it holds is."""

    path: str
    secret: bool = False

    @property
    def label(self) -> str:
        return self.path

    @property
    def nothing(self) -> None:
        return None

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        asked = "\n".join(f"f {shlex.quote(fact.path)} {0 if fact.secret else SHOWN}" for fact in facts)
        return f"""f() {{
  if [ -L "$1" ]; then set -- "$(stat -c '%F|%a|%U|%G|%s' -- "$1")" - "$(readlink -n -- "$1" | base64 -w0)"
  elif [ -f "$1" ]; then
    s=$(stat -c '%F|%a|%U|%G|%s' -- "$1") && h=$(sha256sum < "$1") || {{ echo '!'; return; }}
    b=-; case $s in *'|'[0-7]00'|'*) ;; *) [ "${{s##*|}}" -gt "$2" ] || b=$(base64 -w0 < "$1") ;; esac
    set -- "$s" "${{h%% *}}" "$b"
  elif [ -e "$1" ]; then set -- "$(stat -c '%F|%a|%U|%G|%s' -- "$1")" - -
  else echo; return; fi
  printf '%s|%s|%s\\n' "$@"
}}
{asked}"""

    def parse(self, line: str) -> FileState | None:
        if not line:
            return None
        kind, mode, owner, group, size, digest, body = line.split("|")
        data = None if body == "-" else base64.b64decode(body, validate=True)
        link = data.decode("utf-8", "replace") if data is not None and kind == "symbolic link" else ""
        return FileState(
            kind=kind.replace("regular empty file", "regular file"),
            mode=int(mode, 8),
            owner=owner,
            group=group,
            size=int(size),
            digest=None if digest == "-" else Digest(digest),
            content=None if data is None or link else _text(data),
            link=link,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """systemd's words; `stamp` is what we last started it with. A unit that is not there is `not-found`."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file: str = ""
    stamp: str = ""


@dataclass(frozen=True, kw_only=True)
class UnitFact(Fact[UnitState]):
    unit: str

    @property
    def label(self) -> str:
        return self.unit

    @property
    def nothing(self) -> UnitState:
        return UnitState()

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        names = " ".join(shlex.quote(fact.unit) for fact in facts)
        properties = "LoadState,ActiveState,SubState,UnitFileState"
        # One block of lines for each unit, an empty line between two.
        return f"""p=$(systemctl show -p {properties} -- {names}) || exit 1
printf '%s\\n\\n' "$p" | for u in {names}; do
  while read -r l && [ -n "$l" ]; do printf '%s|' "$l"; done
  s=; [ ! -f {STAMPS}/"$u" ] || read -r s < {STAMPS}/"$u"
  printf 'Stamp=%s\\n' "$s"
done"""

    def parse(self, line: str) -> UnitState:
        said = dict(part.partition("=")[::2] for part in line.split("|"))
        return UnitState(
            load=said["LoadState"],
            active=said["ActiveState"],
            sub=said["SubState"],
            file=said["UnitFileState"],
            stamp=said["Stamp"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageState:
    """`version` is empty when it is not installed; `carried` is the one for the host's release, empty when there is
    none, and `older` says that what is installed is older, by dpkg's own comparison."""

    version: str = ""
    older: bool = False
    carried: str = ""


@dataclass(frozen=True, kw_only=True)
class PackageFact(Fact[PackageState]):
    """`versions` are the versions that are carried, by the release of the system that each is for."""

    package: str
    versions: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def label(self) -> str:
        return self.package

    @property
    def nothing(self) -> PackageState:
        return PackageState(carried=next((version for _, version in self.versions), ""))

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        asked = "\n".join(
            shlex.join(["p", fact.package, *(f"{release}={version}" for release, version in fact.versions)])
            for fact in facts
        )
        names = " ".join(sorted({shlex.quote(fact.package) for fact in facts}))
        # A package for all architectures and one for ours are asked for by the same name; `i` is installed, also when
        # it is held. Code 1 says that some are not known, 2 that the data base cannot be read.
        return f"""command -v dpkg-query >/dev/null || exit 1
VERSION_CODENAME=; [ ! -r /etc/os-release ] || . /etc/os-release
format='${{Package}} ${{db:Status-Abbrev}} ${{Version}}\\n'
w=$(dpkg-query -W -f "$format" -- {names} 2>/dev/null) || [ $? = 1 ] || exit 1
p() {{
  v=$(printf '%s\\n' "$w" | sed -n "s/^$1 [a-z]i  *//p" | head -n 1)
  c=; shift; for i; do if [ "${{i%%=*}}" = "$VERSION_CODENAME" ]; then c=${{i#*=}}; fi; done
  o=no; if [ -n "$v" ] && [ -n "$c" ] && [ "$v" != "$c" ] && dpkg --compare-versions "$v" lt "$c"; then o=yes; fi
  printf '%s|%s|%s\\n' "$v" "$o" "$c"
}}
{asked}"""

    def parse(self, line: str) -> PackageState:
        version, older, carried = line.split("|")
        return PackageState(version=version, older=older == "yes", carried=carried)


@dataclass(frozen=True, kw_only=True)
class Ask(Fact[T]):
    """A question of a component's own: `script` prints anything and ends with 0 when it could ask, `reading` parses it,
    `bare` is what a bare host would have said. Equal names on one host mean the same question. `last`: it is asked
    behind all others, whose answers may take long."""

    name: str
    script: str = field(compare=False, repr=False)
    reading: Callable[[str], T] = field(compare=False, repr=False)
    bare: T | None = field(default=None, compare=False, repr=False)
    last: bool = field(default=False, compare=False, repr=False)

    @property
    def label(self) -> str:
        return self.name

    @property
    def nothing(self) -> T:
        return self.bare  # type: ignore[return-value]

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        return "\n".join(f"( (\n{fact.script}\n); printf '\\n%s' $? ) | base64 -w0; echo" for fact in facts)

    def parse(self, line: str) -> T:
        said, _, code = base64.b64decode(line, validate=True).decode("utf-8", "replace").rpartition("\n")
        if code != "0":
            raise ValueError(f"the question ended with {code or 'nothing'}")
        return self.reading(said)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A question that could not be asked, and why."""

    why: str


class Facts:
    """The answers of all hosts. `pending` are those that a step of the plan in the making will change."""

    def __init__(self, answers: Mapping[str, Mapping[Fact[Any], Any]]) -> None:
        self._answers = answers

    def of(self, host: str) -> "HostFacts":
        return HostFacts(host, self._answers.get(host, {}), self)

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self._answers)

    def without(self, host: str) -> "Facts":
        return Facts({name: answers for name, answers in self._answers.items() if name != host})


class HostFacts:
    """One host's answers while its steps are planned in order; `open` are its steps that have something to do. `all`
    has what all hosts answered before the plan: a step that several hosts share may look at the others."""

    def __init__(self, host: str, answers: Mapping[Fact[Any], Any], all_hosts: Facts | None = None) -> None:
        self.host, self._answers = host, answers
        self.all = all_hosts or Facts({host: answers})
        self.open: set[str] = set()
        self.pending: set[Fact[Any]] = set()  # those read so far that nobody knows yet

    def __getitem__(self, fact: Fact[T]) -> T:
        """Raises FactUnknown for a question that should have been askable."""
        if fact.after in self.open:
            self.pending.add(fact)
            return fact.nothing
        try:
            answer = self._answers[fact]
        except KeyError:
            raise FactUnknown(host=self.host, fact=fact.label, why="it was not asked") from None
        if isinstance(answer, Unasked):
            raise FactUnknown(host=self.host, fact=fact.label, why=answer.why)
        return answer  # type: ignore[no-any-return]


_MARK = "--bundle-facts--"


def grouped(facts: Iterable[Fact[Any]]) -> list[list[Fact[Any]]]:
    """The facts by kind and by the step that makes them askable: what fails together is asked together."""
    groups: dict[Hashable, dict[Fact[Any], None]] = {}
    for fact in facts:
        alone = fact if isinstance(fact, Ask) else None
        groups.setdefault((type(fact), fact.after, alone), {})[fact] = None
    return sorted((list(group) for group in groups.values()), key=lambda group: _is_last(group[0]))


def _is_last(fact: Fact[Any]) -> bool:
    return isinstance(fact, Ask) and fact.last


def question(groups: Sequence[Sequence[Fact[Any]]]) -> str:
    """One script for all groups: after each group's lines comes a line with the mark and its exit code."""
    asked = (f"(\n{type(group[0]).question(group)}\n) </dev/null; printf '\\n{_MARK} %s\\n' $?" for group in groups)
    return "\n".join(("export LC_ALL=C.UTF-8", *asked))


def answers(groups: Sequence[Sequence[Fact[Any]]], said: str, *, errors: str = "") -> dict[Fact[Any], Any]:
    """What `said`, the output of the script, means for each fact; a group that failed or came short is Unasked."""
    found: dict[Fact[Any], Any] = {}
    blocks = _blocks(said)
    for at, group in enumerate(groups):
        lines, code = blocks[at] if at < len(blocks) else ([], "no answer")
        if code != "0" or len(lines) != len(group):
            why = f"the question ended with {code}" if code != "0" else f"{len(lines)} lines for {len(group)} questions"
            found.update((fact, Unasked(f"{why}{errors and ': ' + errors}")) for fact in group)
            continue
        for fact, line in zip(group, lines, strict=True):
            try:
                found[fact] = fact.parse(line)
            except (ValueError, LookupError, Malformed) as error:
                found[fact] = Unasked(f"the answer {line[:80]!r} could not be read ({error})")
    return found


def _blocks(said: str) -> list[tuple[list[str], str]]:
    blocks: list[tuple[list[str], str]] = []
    lines: list[str] = []
    for line in said.split("\n"):
        if line.startswith(f"{_MARK} "):
            # The line break before the mark ends the group's last line; where that ended by itself, it is one more.
            blocks.append((lines[:-1] if lines and not lines[-1] else lines, line.split(" ")[1]))
            lines = []
        else:
            lines.append(line)
    return blocks


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
