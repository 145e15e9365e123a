from ipaddress import ip_address
from pathlib import Path

from bundler.hosts import known
from bundler.model.site import Site, SiteHost

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsFhVpsmkvBFv1wf3fxjrr8XWVyvoR7D1tApGuONzFD"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def site(*keys: str) -> Site:
    hosts = tuple(
        SiteHost(name=f"n{at}", address=ip_address(f"10.0.0.{at}"), roles=(), port=22 if at else 2222, host_key=key)
        for at, key in enumerate(keys)
    )
    return Site(name="s", domain="s.example", hosts=hosts)


def test_what_the_site_declares_replaces_what_was_known(tmp_path: Path) -> None:
    known.write(tmp_path, {"10.0.0.9": (OTHER,), "[10.0.0.0]:2222": (OTHER,)})
    known.declare(tmp_path, site(KEY, KEY, ""))
    assert (tmp_path / known.FILE).read_text() == f"10.0.0.1 {KEY}\n10.0.0.9 {OTHER}\n[10.0.0.0]:2222 {KEY}\n"
    assert known.keys_of(tmp_path, site(KEY).hosts[0]) == (KEY,)


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    known.declare(tmp_path, site(KEY))
    before = (tmp_path / known.FILE).stat().st_ino
    known.declare(tmp_path, site(KEY))
    assert (tmp_path / known.FILE).stat().st_ino == before


def test_fingerprints() -> None:
    """As `ssh-keygen -lf` prints the first."""
    assert known.fingerprint(KEY) == "SHA256:9IoodnbbLYmC1v+WABDcuMLg3XFt6VURMTQUa5ZPYk4"
    assert known.fingerprint("ssh-ed25519 !!") == ""
    assert known.fingerprint("") == ""
