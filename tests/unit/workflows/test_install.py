"""The rules of a site: trust is pinned at first, releases only go forward, what is refused changes nothing."""

import os
import stat
from pathlib import Path

import pytest

from bundler.archive.form import BOOTSTRAP
from bundler.errors import (
    BadSignature,
    BundleError,
    Busy,
    CannotWrite,
    DamagedContent,
    DiskFull,
    Malformed,
    MalformedStatement,
    OlderRelease,
    ReleaseConflict,
    StateDamaged,
    ThresholdNotMet,
    TrustChanged,
    UntrustedSigner,
    Usage,
)
from bundler.model.lock import LockedDeb
from bundler.signing.keys import SigningKey
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows.install import Installed
from bundler.workflows.install import install as run
from tests import bundles, histories
from tests.bundles import ALICE, BOB, CAROL, TinyBundle, tiny_bundle
from tests.campaigns import sha256_of
from tests.content import Made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


def install(made: TinyBundle, root: Path, *keys: SigningKey, threshold: int | None = None) -> Installed:
    trusted = [key.public for key in keys]
    return run(made.path, root, keys=trusted, threshold=threshold, jobs=2, progress=Silent())


def all_of(root: Path) -> dict[str, str]:
    """Every file of a site with its content and time, but for the lock's, which names the last process."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): f"{sha256_of(path)} {path.lstat().st_mtime_ns}" for path in files}


def refused(
    error: type[BundleError], made: TinyBundle, root: Path, *keys: SigningKey, threshold: int | None = None
) -> None:
    """Refused under that name, and the site is what it was."""
    before, current = all_of(root), os.path.realpath(root / "current")
    with pytest.raises(BundleError) as caught:
        install(made, root, *keys, threshold=threshold)
    assert type(caught.value) is error, repr(caught.value)
    assert (all_of(root), os.path.realpath(root / "current")) == (before, current)


def test_installing_and_again(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path)
    done = install(made, root, ALICE)
    assert done.changed
    assert done.new == sum(entry.size for entry in made.statement.entries[4:])
    before = all_of(root)
    again = install(made, root)
    assert (again.changed, again.new, again.signed) == (False, 0, (ALICE.public.keyid,))
    assert all_of(root) == before


def test_the_first_installation_pins_the_trust(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path, keys=(ALICE, BOB))
    refused(Usage, made, root)
    refused(UntrustedSigner, made, root, CAROL)
    refused(ThresholdNotMet, made, root, ALICE, CAROL, threshold=2)
    refused(Malformed, made, root, ALICE, threshold=2)
    assert not root.exists()
    install(made, root, ALICE, BOB, threshold=2)
    refused(TrustChanged, made, root, CAROL)
    refused(TrustChanged, made, root, ALICE, threshold=1)
    one = tiny_bundle(tmp_path, keys=(ALICE,), number=2, name="one.bundle")
    refused(ThresholdNotMet, one, root)
    refused(ThresholdNotMet, one, root, ALICE)
    one.sign_beside(BOB)
    assert install(one, root).changed


def test_a_bundle_of_a_stranger_for_a_site_in_use(tmp_path: Path, root: Path) -> None:
    install(tiny_bundle(tmp_path), root, ALICE)
    foreign = tiny_bundle(tmp_path, keys=(BOB,), number=2, name="foreign.bundle")
    refused(UntrustedSigner, foreign, root)
    refused(TrustChanged, foreign, root, BOB)


def test_releases_go_forward(tmp_path: Path, root: Path) -> None:
    def release(number: int, text: bytes = b"") -> TinyBundle:
        name = f"{number}{text.decode()}.bundle"
        return tiny_bundle(tmp_path, number=number, files={"n": f"{number}".encode() + text}, name=name)

    install(release(5), root, ALICE)
    refused(OlderRelease, release(4), root)
    refused(OlderRelease, release(0), root)
    refused(ReleaseConflict, release(5, b"other"), root)
    assert not install(release(5), root).changed
    assert install(release(7), root).changed
    refused(OlderRelease, release(5), root)
    refused(OlderRelease, release(6), root)


def test_lines_count_apart(tmp_path: Path, root: Path) -> None:
    install(tiny_bundle(tmp_path, line="site", number=9), root, ALICE)
    other = tiny_bundle(tmp_path, line="tools", number=1, name="other.bundle")
    assert install(other, root).changed
    refused(OlderRelease, tiny_bundle(tmp_path, line="site", number=8, name="old.bundle"), root)


def test_a_lost_blob_comes_back(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path)
    install(made, root, ALICE)
    entry = made.statement.entries[-1]
    path = root / "store" / "blobs" / "sha256" / entry.digest.hex[:2] / entry.digest.hex
    path.unlink()
    done = install(made, root)
    assert (done.changed, done.new) == (True, entry.size)
    assert path.stat().st_size == entry.size


def test_a_damaged_state(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path)
    install(made, root, ALICE)
    state = root / "state" / "site.json"
    state.write_bytes(state.read_bytes()[:-20])
    refused(StateDamaged, made, root)
    refused(StateDamaged, made, root, ALICE)
    state.unlink()
    refused(StateDamaged, made, root, ALICE)


def test_damage_in_a_body(tmp_path: Path, root: Path) -> None:
    """What was good stays in the store, nothing is published, and a good copy ends it."""
    made = tiny_bundle(tmp_path)
    data = made.path.read_bytes()
    place = made.layout.places[-1]
    made.path.write_bytes(data[: place.body] + b"!" + data[place.body + 1 :])
    with pytest.raises(DamagedContent) as caught:
        install(made, root, ALICE)
    assert caught.value.damaged == ((place.member.name, ("model.bin",)),)
    assert not (root / "current").is_symlink()
    assert not (root / "state" / "site.json").exists()
    made.path.write_bytes(data)
    assert install(made, root, ALICE).new == place.member.size


def test_a_changed_bootstrap_writes_nothing(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path)
    place, data = made.layout.place(BOOTSTRAP), bytearray(made.path.read_bytes())
    data[place.body + 600] ^= 1
    made.path.write_bytes(data)
    refused(BadSignature, made, root, ALICE)
    assert not root.exists()


@pytest.mark.parametrize(
    "more",
    [
        "\n\nPackage: libc6\nVersion: 99\nArchitecture: amd64\nFilename: ../x\nSize: 1\nSHA256: 00",
        "\nFilename: ../../../files/model.bin",
        "\nSHA256: " + "0" * 64,
        "\nsize: 1",
        "\nPackage: libc6",
        "\nno field",
        "\n",
        "\nX: \x1b[2J",
    ],
)
def test_a_package_description_that_says_more(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """It would become part of the site's signed index, and name packages that are not in the bundle."""
    real = bundles.Blobs.deb

    def hostile(self: bundles.Blobs, made: Made) -> LockedDeb:
        locked = real(self, made)
        object.__setattr__(locked, "control", locked.control + more)
        return locked

    monkeypatch.setattr(bundles.Blobs, "deb", hostile)
    refused(MalformedStatement, tiny_bundle(tmp_path), root, ALICE)
    assert not root.exists()


def test_two_at_once(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path)
    install(made, root, ALICE)
    with files.exclusive(root / ".lock", what=str(root)), pytest.raises(Busy) as caught:
        install(made, root)
    assert caught.value.holder == f"process {os.getpid()}"


def test_no_room(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before a blob is written, with what is missing; with room the same command ends well."""
    made = tiny_bundle(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files, "free_space", lambda path: 1000)
        with pytest.raises(DiskFull) as caught:
            install(made, root, ALICE)
    needed = sum(entry.size for entry in made.statement.entries[4:])
    assert caught.value.missing >= needed - 1000
    assert not any(path.is_file() for path in (root / "store").rglob("*"))
    assert install(made, root, ALICE).changed


def test_a_root_that_is_no_folder(tmp_path: Path, root: Path) -> None:
    root.write_bytes(b"precious")
    with pytest.raises(CannotWrite):
        install(tiny_bundle(tmp_path), root, ALICE)
    assert root.read_bytes() == b"precious"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, root: Path, umask: int) -> None:
    """Servers of another user read the views; the secret key is its owner's alone."""
    made = tiny_bundle(tmp_path)
    before = os.umask(umask)
    try:
        install(made, root, ALICE)
    finally:
        os.umask(before)
    for path in (root / "generations").rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode in ((0o755,) if path.is_dir() else (0o444, 0o644)), path
    assert stat.S_IMODE((root / "keys" / "apt.secret.asc").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "keys").stat().st_mode) == 0o700
