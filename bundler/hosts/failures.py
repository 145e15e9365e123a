"""What ssh says when it cannot connect, as an error of ours. Its texts: sshconnect.c, misc.c, packet.c."""

import re

from bundler.errors import BundleError, HostKeyUnknown, HostUnreachable
from bundler.hosts.hop import Hop

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_OFFENDING = re.compile(r"Offending .* key in (.+)")

# Searched in this order: what comes first says more than what it leads to, such as "Connection closed by UNKNOWN" when
# a jump failed. {address}, {port} and {user} are the host's.
_CAUSES = (
    (
        r"Permission denied \(",
        "it refuses the user {user}: no key that was offered is accepted",
        (
            "Add your public key to ~{user}/.ssh/authorized_keys there (`ssh-copy-id`), or load it into your agent "
            "(`ssh-add -l` lists it), or correct `user:`."
        ),
    ),
    (
        r"Too many authentication failures",
        "it gave up after too many keys",
        (
            "Your agent offers many keys: name the right one for {address} in ~/.ssh/config (IdentityFile, "
            "IdentitiesOnly yes)."
        ),
    ),
    (
        r"Could not resolve hostname",
        "its name, or that of its jump, cannot be resolved",
        "Correct `address:` or `jump:`, or give an IP address.",
    ),
    (
        r"No route to host|Network is unreachable",
        "there is no route to {address}",
        "See that it is up and that this machine has a route to its network; behind a jump host, set `jump:`.",
    ),
    (
        r"Connection refused",
        "nothing listens on port {port} of {address}",
        "Start sshd there (`systemctl enable --now ssh`), or correct `port:`.",
    ),
    (
        r"timed out|Timeout",
        "{address} does not answer on port {port}",
        "See that it is up and that no firewall drops port {port}.",
    ),
    (
        r"no matching (host key type|key exchange method|cipher|MAC)",
        "its sshd and our ssh have no algorithm in common",
        "Update its sshd, or allow what it offers for {address} in ~/.ssh/config.",
    ),
    (
        r"administratively prohibited|open failed",
        "the jump host does not let connections through to {address}",
        "Set `AllowTcpForwarding yes` in its sshd_config, or take another jump.",
    ),
    (
        r"Connection (closed|reset) by|banner exchange|kex_exchange_identification|Broken pipe",
        "it closed the connection before the login",
        (
            "Its sshd may be starting, overloaded (MaxStartups) or closed to this address (AllowUsers, firewall): see "
            "`journalctl -u ssh` there."
        ),
    ),
    (
        r"Bad configuration option|no argument after keyword|[Pp]ermissions on|Bad owner",
        "our own ssh cannot read its configuration",
        "Correct ~/.ssh/config, or name another one by BUNDLE_SSH_CONFIG.",
    ),
)


def explain(hop: Hop, said: str) -> BundleError:
    """The error for what ssh said before anything was run there."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        known = _first(_OFFENDING, said) or "another"
        return HostKeyUnknown(host=hop.name, seen=_first(_FINGERPRINT, said), known=known)
    if "Host key verification failed" in said or "you have requested strict checking" in said:
        return HostKeyUnknown(host=hop.name, seen=_first(_FINGERPRINT, said))
    facts = {"address": hop.address, "port": hop.port or 22, "user": hop.user or "of your ssh configuration"}
    last = lines[-1] if lines else "ssh ended without a word"
    for pattern, why, advice in _CAUSES:
        if re.search(pattern, said):
            return HostUnreachable(host=hop.name, why=why.format(**facts), said=last, advice=advice.format(**facts))
    advice = f"Try it by hand: `ssh -p {facts['port']} {hop.user + '@' if hop.user else ''}{hop.address}`."
    return HostUnreachable(host=hop.name, why="ssh failed", said=last, advice=advice)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return (found.group(1) if pattern.groups else found.group()).strip() if found else ""
