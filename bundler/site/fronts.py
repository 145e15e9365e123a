"""Signed statements as a site keeps them: of the release in use, of an unfinished installation, of each generation.

The one of an unfinished installation is written before its first blob: what it has brought so far is then nobody's
rubbish, and the next installation goes on with it.
"""

from pathlib import Path

from bundler.archive.receiving import Arriving
from bundler.archive.sending import front_of
from bundler.errors import NotReadable
from bundler.model.limits import LIMITS
from bundler.signing.trust import Signed
from bundler.support import files

FRONT = "release.front"
_UNFINISHED = "unfinished.front"


def in_use_path(root: Path) -> Path:
    """Where a site keeps the signed statement of the release in use: enough to make its views again from the store."""
    return root / "state" / FRONT


def unfinished_path(root: Path) -> Path:
    return root / "state" / _UNFINISHED


def read(path: Path) -> Signed | None:
    """A signed statement as it was kept; None when there is none. Raises NotABundle, TruncatedBundle, NotReadable."""
    try:
        with path.open("rb") as front:
            arriving = Arriving(front.fileno())
            signed = arriving.front()
            arriving.finish()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    return signed


def write(path: Path, signed: Signed) -> None:
    """Unless it is there already: then nothing is written."""
    front = front_of(signed)
    if not path.exists() or files.read_file(path, limit=2 * LIMITS.document) != front:
        files.write_file(path, front)


def begin(root: Path, signed: Signed) -> None:
    """Note which installation brings blobs from now on."""
    write(unfinished_path(root), signed)


def end(root: Path) -> None:
    """No installation is under way."""
    with files.writing(unfinished_path(root)):
        unfinished_path(root).unlink(missing_ok=True)
