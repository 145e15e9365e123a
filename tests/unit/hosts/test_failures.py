"""What OpenSSH 9.2 really printed, with LogLevel=ERROR."""

import pytest

from bundler.errors import HostKeyUnknown, HostUnreachable
from bundler.hosts.failures import explain
from bundler.hosts.hop import Hop

HOP = Hop(name="n1", address="10.0.0.1", user="ops", port=2222)
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:kJuVTuI+YcxNoCWSgC+nooZwxRwTQUgue/YOJHU2GWw.
Please contact your system administrator.
Add correct host key in /srv/lab.state/known_hosts to get rid of this message.
Offending ED25519 key in /srv/lab.state/known_hosts:1
Host key for [10.0.0.1]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = """\
No ED25519 host key is known for [10.0.0.1]:2222 and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("ssh: connect to host 10.0.0.1 port 2222: Connection refused\n", "nothing listens on port 2222 of 10.0.0.1"),
        ("ssh: connect to host 10.0.0.1 port 2222: Connection timed out\n", "10.0.0.1 does not answer on port 2222"),
        ("ssh: connect to host 10.0.0.1 port 2222: No route to host\n", "there is no route to 10.0.0.1"),
        ("ssh: connect to host 10.0.0.1 port 2222: Network is unreachable\n", "there is no route to 10.0.0.1"),
        ("Connection timed out during banner exchange\n", "10.0.0.1 does not answer on port 2222"),
        ("ops@10.0.0.1: Permission denied (publickey,password,keyboard-interactive).\n", "it refuses the user ops"),
        ("Received disconnect from 10.0.0.1 port 2222:2: Too many authentication failures\n", "after too many keys"),
        ("ssh: Could not resolve hostname nosuch.invalid: Name or service not known\n", "cannot be resolved"),
        ("kex_exchange_identification: read: Connection reset by peer\n", "before the login"),
        ("kex_exchange_identification: Connection closed by remote host\n", "before the login"),
        (
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n",
            "does not let connections through to 10.0.0.1",
        ),
        (
            "Unable to negotiate with 10.0.0.1 port 2222: no matching host key type found. Their offer: ssh-ed25519\n",
            "no algorithm in common",
        ),
        ("/root/.ssh/config: line 1: Bad configuration option: nonsense\n", "cannot read its configuration"),
        ("something never heard of\n", "ssh failed"),
        ("", "ssh failed"),
    ],
)
def test_unreachable(said: str, why: str) -> None:
    error = explain(HOP, said)
    assert isinstance(error, HostUnreachable)
    assert error.host == "n1"
    assert why in error.why
    assert error.said in (said.strip().splitlines()[-1:] or ["ssh ended without a word"])
    assert error.hint
    assert "{" not in error.summary + error.hint


def test_a_changed_key_says_both() -> None:
    error = explain(HOP, CHANGED)
    assert isinstance(error, HostKeyUnknown)
    assert error.seen == "SHA256:kJuVTuI+YcxNoCWSgC+nooZwxRwTQUgue/YOJHU2GWw"
    assert error.known == "/srv/lab.state/known_hosts:1"
    assert "--replace n1" in error.hint


def test_an_unknown_key() -> None:
    error = explain(HOP, UNKNOWN)
    assert isinstance(error, HostKeyUnknown)
    assert not error.known
    assert "trust-hosts" in error.hint
