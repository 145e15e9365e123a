"""The form of a bundle file: which members it has, in which order, for a statement and its signers."""

from collections.abc import Iterable

from bundler.archive.layout import Layout, Member, lay_out
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Entry, Statement

STATEMENT = "bundle.json"
BOOTSTRAP = "bootstrap.tar"
SIGNATURE_SIZE = 64  # a raw Ed25519 signature (RFC 8032)


def bundle_layout(statement_size: int, keyids: Iterable[str], entries: Iterable[Entry]) -> Layout:
    """The layout of a bundle file from what its statement says."""
    bootstrap, *rest = (
        Member(name=entry.name, size=entry.size, shared=entry.name.startswith(BLOB_PREFIX)) for entry in entries
    )
    keyids = tuple(keyids)
    return lay_out(
        (
            Member(name=STATEMENT, size=statement_size),
            *(Member(name=signature_name(STATEMENT, keyid), size=SIGNATURE_SIZE) for keyid in keyids),
            bootstrap,
            *(Member(name=signature_name(BOOTSTRAP, keyid), size=SIGNATURE_SIZE) for keyid in keyids),
            *rest,
        )
    )


def signature_name(name: str, keyid: str) -> str:
    return f"{name}.{keyid}.sig"


def owners_of(statement: Statement) -> dict[str, tuple[str, ...]]:
    """For each entry's name, the names of the artifacts that need it."""
    owners: dict[str, list[str]] = {}
    for artifact in statement.artifacts:
        for digest in artifact.members:
            owners.setdefault(f"{BLOB_PREFIX}{digest.hex}", []).append(artifact.name)
    for patched in statement.patches:
        owners[f"{PATCH_PREFIX}{patched.patch.hex}"] = owners.get(patched.entry.name, [])
    return {name: tuple(dict.fromkeys(artifacts)) for name, artifacts in owners.items()}
