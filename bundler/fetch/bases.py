"""What a delta is made against: bundles that a site was given, or receipts of what it holds."""

from collections.abc import Sequence
from pathlib import Path

from bundler.archive.delta import Known, known_of, known_to_all
from bundler.archive.reader import BundleFile
from bundler.errors import BadSignature, UntrustedSigner
from bundler.model.limits import LIMITS
from bundler.model.receipt import TYPE, Receipt, parse_receipt, split_receipt
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import check_signers
from bundler.support import files


def read_known(paths: Sequence[Path], *, sites: Sequence[str]) -> Known:
    """What is known to be on the site, or on all sites: bundles add up, and of several receipts counts what all have.
    `sites` are the keyids by which receipts are believed.

    Raises UntrustedSigner, BadSignature, MalformedReceipt and the bundle errors.
    """
    receipts = [_read(path, sites) for path in paths if _is_receipt(path)]
    statements = [_statement_of(path) for path in paths if not _is_receipt(path)]
    if not receipts:
        return known_of(statements)
    return known_to_all([Known(bases=each.releases, blobs={h.digest: h for h in each.blobs}) for each in receipts])


def bundles_among(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Those that blobs can be copied from."""
    return tuple(path for path in paths if not _is_receipt(path))


def _is_receipt(path: Path) -> bool:
    """By its beginning; who reads it next says what is wrong with it."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False


def _read(path: Path, sites: Sequence[str]) -> Receipt:
    line, signature = split_receipt(files.read_file(path, limit=LIMITS.document), path=str(path))
    receipt = parse_receipt(line, path=str(path))
    key = PublicKey(receipt.key)
    if not key.verifies(signature, line):
        raise BadSignature(keyid=key.keyid, what=TYPE, why="the bytes or the signature were changed")
    if key.keyid not in sites:
        raise UntrustedSigner(bundle=str(path), signed=(key.keyid,), trusted=tuple(sites))
    return receipt


def _statement_of(bundle: Path) -> Statement:
    with BundleFile(bundle) as file:
        signed = file.front()
        statement = parse_statement(signed.statement, path=str(bundle))
        check_signers(statement, signed)
    return statement
