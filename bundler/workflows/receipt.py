"""`bundle receipt`: what a site holds, signed by its own key."""

from dataclasses import dataclass
from pathlib import Path

import bundler
from bundler.archive.delta import known_of
from bundler.errors import NotASite
from bundler.model.receipt import Receipt, write_receipt
from bundler.signing.keys import SigningKey, generate, read_signing_key
from bundler.site import generation
from bundler.site.kept import kept
from bundler.store.blobs import BlobStore
from bundler.support import clock, files


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    receipt: Receipt
    keyid: str


def write(root: Path, out: Path) -> Written:
    """Raises NotASite, StateDamaged, and what writing raises."""
    with files.exclusive(root / ".lock", what=str(root)):
        receipt, key = _receipt(root)
    line = write_receipt(receipt)
    files.write_file(out, line + key.sign(line).hex().encode() + b"\n")
    return Written(receipt=receipt, keyid=key.public.keyid)


def _receipt(root: Path) -> tuple[Receipt, SigningKey]:
    in_use = generation.current(root)
    if in_use is None:
        raise NotASite(root=str(root), why="no release is in use there")
    statements, store = {each.name: each.statement for each in kept(root)}, BlobStore(root)
    known = known_of(statements.values())
    key = _site_key(root)
    receipt = Receipt(
        key=key.public.raw,
        tool=f"bundler-{bundler.__version__}",
        made=clock.now(),
        free=files.free_space(root),
        current=[base.content for base in known.bases].index(statements[in_use.name].content),
        releases=known.bases,
        blobs=tuple(held for _, held in sorted(known.blobs.items()) if store.holds(held.digest, held.size)),
    )
    return receipt, key


def _site_key(root: Path) -> SigningKey:
    """The site's own key for receipts, made at the first need; its secret never leaves the site."""
    path = root / "keys" / "receipt.key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        files.write_file(path, generate().pem(None), mode=0o600)
    return read_signing_key(path, lambda: None)
