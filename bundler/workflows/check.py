"""`bundle check`: the proof that a lock, or the bundle made from it, comes up short of nothing."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.reader import BundleFile
from bundler.catalog.licenses import unaccepted
from bundler.catalog.load import Declared, load
from bundler.closure.inputs import inputs_of, path_in, receive_inputs
from bundler.closure.look import Looker
from bundler.closure.proof import Proof, prove_images, prove_pins, prove_skew
from bundler.errors import ChartChanged, Incomplete
from bundler.fetch.partial import Partial
from bundler.fetch.pool import Sources, Window
from bundler.fetch.tasks import Task
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.statement import BLOB_PREFIX
from bundler.resolve.asked import stated
from bundler.resolve.resolve import Survey, survey
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust, judge
from bundler.support.progress import Progress, counted
from bundler.transport import Transport
from bundler.verify.carried import carried_lock, check_carried
from bundler.verify.check import layout_of
from bundler.workflows.lock import resolvers_of
from bundler.workflows.look import write_proved
from bundler.workflows.places import Places, read_lock, sources_of

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    lock: Lock
    proof: Proof


def check_lock(path: Path, *, places: Places, progress: Progress) -> Checked:
    """Prove a lock; the charts and tools that are looked into come from their sources."""
    lock = read_lock(path)
    proof = _pins(lock, progress)
    with tempfile.TemporaryDirectory(prefix="bundle-check-") as scratch, closing(Transport()) as transport:
        sources = sources_of(places, transport, progress)
        inputs = inputs_of(lock.asked, lock.charts, lock.files)
        if inputs:
            progress.note(f"fetching charts and tools ({len(inputs)}) to look into")
        try:
            paths = receive_inputs(inputs, sources, places.manifests, Path(scratch))
        except ChartChanged as changed:
            changed.command = f"bundle lock -p {lock.profile} -o {path} --update"
            raise
        return Checked(lock=lock, proof=proof + _images(lock, paths, progress))


def check_bundle(path: Path, *, keys: Sequence[PublicKey], threshold: int, progress: Progress) -> Checked:
    """Prove a bundle from what is in it alone. Its signatures come first: programs out of it are run."""
    with BundleFile(path) as file, tempfile.TemporaryDirectory(prefix="bundle-check-") as scratch:
        signed = file.front()
        statement = judge(Trust(keys=tuple(keys), threshold=threshold), signed).statement
        layout = layout_of(file, statement, len(signed.statement))
        lock = carried_lock(file, statement, layout)
        proof = _pins(lock, progress)
        inputs = inputs_of(lock.asked, lock.charts, lock.files)
        check_carried(file.path, statement, inputs, what="proving a whole release")
        for digest, entry in inputs.items():
            target = path_in(Path(scratch), entry)
            target.parent.mkdir()
            write_proved(file, layout.place(f"{BLOB_PREFIX}{digest.hex}"), entry.name, digest, target)
        paths = {digest: path_in(Path(scratch), entry) for digest, entry in inputs.items()}
        return Checked(lock=lock, proof=proof + _images(lock, paths, progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A profile as far as its sources could be asked. `proof` is of the whole where nothing failed, else of what needs
    no source; `unaccepted` are licences, each with what has it."""

    declared: Declared
    unaccepted: tuple[tuple[str, str], ...]
    survey: Survey
    proof: Proof


def check_profile(profile: str, *, places: Places, progress: Progress) -> Surveyed:
    """Check a profile without a lock: its manifests, its licences, its versions, and each source that answers."""
    declared = load(profile, manifests=places.manifests)
    with resolvers_of(places, progress) as resolvers:
        found = survey(declared, resolvers, progress=progress)
        if found.lock is None:
            proof = Proof(skew=prove_skew([stated(declared.profile, each) for each in declared.components]))
        else:
            lock = found.lock
            inputs = inputs_of(lock.asked, lock.charts, lock.files)
            paths = receive_inputs(inputs, resolvers, places.manifests, resolvers.scratch)
            proof = _pins(lock, progress) + _images(lock, paths, progress)
    return Surveyed(declared=declared, unaccepted=unaccepted(declared), survey=found, proof=proof)


def prove_before(lock: Lock, progress: Progress) -> None:
    """What `create` proves before it fetches anything. Raises Incomplete."""
    _require(lock, _pins(lock, progress))


def input_tasks(lock: Lock, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """What `create` fetches first, because the rest of the proof looks into it."""
    inputs = inputs_of(lock.asked, lock.charts, lock.files)
    return tuple(task for task in tasks if task.digest in inputs)


def prove_within(lock: Lock, tasks: Sequence[Task], partial: Partial, sources: Sources, progress: Progress) -> None:
    """What `create` proves when these tasks' bytes are in the partial file; what a delta does not carry of it is copied
    from its base, or fetched to be looked into. Raises Incomplete."""
    inputs = inputs_of(lock.asked, lock.charts, lock.files)
    carried = {task.digest for task in tasks}
    left = {digest: entry for digest, entry in inputs.items() if digest not in carried}
    with tempfile.TemporaryDirectory(prefix="bundle-check-") as scratch:
        for task in tasks:
            target = path_in(Path(scratch), inputs[task.digest])
            target.parent.mkdir(exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(Window(partial, task.offset, task.size), copy, _CHUNK)
        paths = {task.digest: path_in(Path(scratch), inputs[task.digest]) for task in tasks}
        paths |= receive_inputs(left, sources, sources.manifests, Path(scratch), copy=sources.cache.copy)
        _require(lock, _images(lock, paths, progress))


def _pins(lock: Lock, progress: Progress) -> Proof:
    kinds = ((len(lock.wheels), "wheel"), (len(lock.debs), "package"))
    if found := " and ".join(counted(count, noun) for count, noun in kinds if count):
        progress.note(f"proving {found} from the lock alone")
    return prove_pins(lock)


def _images(lock: Lock, paths: Mapping[Digest, Path], progress: Progress) -> Proof:
    charts = sum(len(asked.charts) for asked in lock.asked)
    if charts:
        progress.note(f"rendering {counted(charts, 'chart')}")
    return prove_images(lock, Looker(lock.asked, lock.charts, lock.files, paths))


def _require(lock: Lock, proof: Proof) -> None:
    if proof.errors:
        raise Incomplete(profile=lock.profile, problems=proof.errors)
