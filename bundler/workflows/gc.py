"""`bundle gc`: the disk back from releases that a site keeps no longer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import BundleError, InvalidDocument, Malformed, Problem
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.statement import Statement
from bundler.site import fronts, generation, retention, sweep
from bundler.site.kept import Kept, statement_at, unfinished
from bundler.site.retention import Wanted
from bundler.support import files
from bundler.workflows.releases import Site, changing, look


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`stays` and why each does; `what` goes, or would go. `unfinished` is an installation that was interrupted, and
    whose blobs stay."""

    root: Path
    stays: tuple[Kept, ...]
    why: Mapping[str, str]
    what: sweep.Sweep
    unfinished: Statement | None


def plan(root: Path, *, keep: int, running: Iterable[Path] = (), abandon: bool = False) -> Collected:
    """What would go; changes nothing. `running` are files of digests that the site's workloads use. Raises as `gc`."""
    return _plan(look(root), keep, digests_of(running), abandon)


def gc(root: Path, *, keep: int, running: Iterable[Path] = (), abandon: bool = False) -> Collected:
    """Keep the release in use and those before it, `keep` in all, what is pinned, what runs, and what an interrupted
    installation needs (unless that is to be abandoned); take everything else away.

    Raises NotASite, StateDamaged, StoreDamaged, NotReadable, InvalidDocument, CannotWrite, Busy.
    """
    digests = digests_of(running)
    with changing(root):
        done = _plan(look(root), keep, digests, abandon)
        if abandon:
            fronts.end(root)
        sweep.sweep(root, done.what)
        files.clear_halves(root / "state")
    return done


def digests_of(paths: Iterable[Path]) -> frozenset[Digest]:
    """Files of one `sha256:<hex>` a line; empty lines and those with a `#` first mean nothing. Raises NotReadable,
    InvalidDocument with every wrong line: what runs must not be lost by a slip."""
    found: set[Digest] = set()
    problems = []
    for path in paths:
        for number, line in enumerate(files.read_text(path, limit=LIMITS.document).splitlines(), 1):
            word = line.strip()
            if not word or word.startswith("#"):
                continue
            try:
                found.add(Digest.parse(word))
            except Malformed as error:
                problems.append(Problem(file=str(path), line=number, found=error.found, expected=error.expected))
    if problems:
        raise InvalidDocument(problems=tuple(problems[: LIMITS.problems]))
    return frozenset(found)


def _plan(site: Site, keep: int, running: frozenset[Digest], abandon: bool) -> Collected:
    half = None if abandon else unfinished(site.root)
    meant = statement_at(fronts.in_use_path(site.root))
    names = {generation.name_of(statement) for statement in (half, meant) if statement is not None}
    wanted = Wanted(keep=keep, names=names, pins=frozenset(site.state.pins), digests=running)
    why = retention.reasons(site.found, site.in_use, site.state.history, wanted)
    stays = [each for each in site.found if each.name in why]
    goes = [each for each in site.found if each.name not in why]
    begun = frozenset(entry.digest for entry in (*half.blobs, *half.entries)) if half else frozenset()
    bases = {held.digest for each in half.patches for held in each.bases} if half else set()
    what = sweep.plan(site.root, stays, goes, also=begun | running | bases, begun=begun)
    return Collected(root=site.root, stays=tuple(stays), why=why, what=what, unfinished=half)


def reclaimable(root: Path) -> int:
    """Bytes that `gc` would give back; 0 when that cannot be told. For the advice of a full disk."""
    try:
        return plan(root, keep=retention.KEEP).what.freed
    except (BundleError, OSError):
        return 0
