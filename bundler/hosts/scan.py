"""Which key a host shows, before anybody trusts it: the key is read during the exchange, and no login follows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bundler.hosts import guard
from bundler.hosts.hop import Hop
from bundler.hosts.ssh import SshSession
from bundler.support.files import read_text
from bundler.support.run import Talk

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # a key's type has its signatures' name, but for this one
_LIMIT = 64 << 10


def shown_key(session: SshSession, hop: Hop, known: Sequence[str] = ()) -> tuple[str, str]:
    """The key that a host shows, `TYPE BASE64`, or empty and what ssh said; of the type of a `known` one if it has it.

    By ssh itself and not ssh-keyscan, which cannot go through a jump nor read the user's configuration. Raises what a
    jump that cannot be opened raises.
    """
    session.open_jumps(hop)
    types = sorted({algorithm for key in known for algorithm in _ALGORITHMS.get(key.split()[0], (key.split()[0],))})
    key, said = _shown(session, hop, *([f"HostKeyAlgorithms={','.join(types)}"] if types else []))
    return _shown(session, hop) if types and not key and "no matching host key type" in said else (key, said)


def _shown(session: SshSession, hop: Hop, *options: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        seen = Path(folder) / "seen"
        command = session.command(
            hop,
            *options,
            "LogLevel=INFO",  # at ERROR it does not say that it knows no such type of key
            "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={seen}",
            "GlobalKnownHostsFile=/dev/null",
            "HashKnownHosts=no",
            "PreferredAuthentications=none",
            "ControlPath=none",
            "ControlMaster=no",
        )
        _, _, stderr = guard.listen(Talk([*command, "--", hop.address, "true"], needed_for="to ask a host for its key"))
        lines = read_text(seen, limit=_LIMIT).splitlines() if seen.exists() else []
        key = " ".join(lines[0].split()[1:3]) if lines else ""
    return key, stderr
