"""`bundle keys`, `bundle statement`, `bundle sign`: keys, and signatures that are made away from the build machine."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bundler.archive.draft import draft_of
from bundler.archive.form import SIGNATURE_SIZE
from bundler.archive.reader import BundleFile
from bundler.archive.slices import volumes_of
from bundler.errors import BadSignature, BundleError, NotReadable
from bundler.fetch.bootstrap import assemble
from bundler.model.statement import write_statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey, SigningKey, generate
from bundler.support import files
from bundler.support.progress import Progress
from bundler.transport import Transport
from bundler.workflows.create import refuse_doubled
from bundler.workflows.places import Places, read_lock, sources_of
from bundler.workflows.tool import tool_sources


def create_keys(name: Path, *, passphrase: bytes | None) -> PublicKey:
    """Write NAME.key (0600) and NAME.pub. Raises CannotWrite when one of them exists."""
    key = generate()
    public = name.with_name(f"{name.name}.pub")
    files.create_file(public, key.public.pem(), mode=0o644)
    try:
        files.create_file(name.with_name(f"{name.name}.key"), key.pem(passphrase), mode=0o600)
    except BundleError:
        public.unlink()  # a public key whose private half is nowhere would only mislead
        raise
    return key.public


def statement_of_lock(
    lock_path: Path, *, signers: Sequence[PublicKey], places: Places, jobs: int, progress: Progress
) -> bytes:
    """The exact bytes that `create` would write as the statement. Fetches the tool's own wheels only."""
    lock = read_lock(lock_path)
    refuse_doubled(signers, where="--signer")
    draft = draft_of(lock, sources=tool_sources(), signers=tuple(signers))
    transport = Transport()
    with tempfile.TemporaryDirectory(prefix="bundle-statement-") as scratch:
        sources = sources_of(places, transport, progress)
        digest = assemble(draft.bootstrap, Path(scratch), sources, jobs=jobs, progress=progress)
    transport.close()
    return write_statement(draft.finished(digest))


def statement_of_bundle(path: Path) -> bytes:
    """The statement's bytes of a bundle that exists."""
    with BundleFile(path) as file:
        data = file.front().statement
    parse_statement(data, path=str(path))
    return data


def sign(path: Path, key: SigningKey) -> tuple[Path, ...]:
    """Sign the statement of a bundle, and what names its slices; put the signatures beside the files."""
    return tuple(_put(target, key.public, key.sign(data)) for target, data in _signable(path).items())


def attach(path: Path, key: PublicKey, signature_path: Path) -> Path:
    """Put a raw signature that was made elsewhere beside the file, if it holds. Raises BadSignature."""
    signature = files.read_file(signature_path, limit=4096)
    if len(signature) != SIGNATURE_SIZE:
        raise NotReadable(path=str(signature_path), why=f"it has {len(signature)} bytes, a raw signature has 64")
    for target, data in _signable(path).items():
        if key.verifies(signature, data):
            return _put(target, key, signature)
    raise BadSignature(keyid=key.keyid, what=f"the statement of {path}", why="it was made over other bytes")


def _signable(path: Path) -> dict[Path, bytes]:
    """What is signed of a bundle, by the file that its signatures are named after."""
    data = statement_of_bundle(path)
    volumes = volumes_of(path)
    if volumes is None:
        return {path: data}
    return {volumes.path.with_name(volumes.name): data, volumes.path: volumes.signed.statement}


def _put(path: Path, key: PublicKey, signature: bytes) -> Path:
    beside = path.with_name(f"{path.name}.{key.keyid}.sig")
    files.write_file(beside, signature)
    return beside
