import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.errors import NotFound, ResolutionFailed, Unsupported, WrongBytes
from bundler.model.digest import Digest
from bundler.model.lock import LockedWheel
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Resolved, Update
from bundler.sources.wheels import WheelLocator, resolve_wheels
from bundler.transport import Transport, Upstreams
from tests.hostile_server import HostileServer, ok, status
from tests.upstreams import TinyIndex


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyIndex]:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    with HostileServer() as server:
        yield TinyIndex(server=server)


def index_of(tiny: TinyIndex) -> PackageIndex:
    return PackageIndex(Transport(), Upstreams.parse([f"pypi={tiny.url}"]))


def resolve(
    tiny: TinyIndex,
    *requirements: str,
    pythons: tuple[str, ...] = ("3.11",),
    keep: tuple[LockedWheel, ...] = (),
    update: Update | None = None,
    architecture: str = "amd64",
) -> Resolved[LockedWheel]:
    return resolve_wheels(
        requirements,
        pythons=pythons,
        glibc="manylinux_2_36",
        architecture=architecture,
        index=index_of(tiny),
        keep=keep,
        update=update or Update(),
    )


def names(found: Resolved[LockedWheel]) -> dict[str, tuple[str, ...]]:
    return {wheel.file: wheel.pythons for wheel in found.entries}


def test_markers_are_those_of_each_target(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=['old; python_version < "3.11"', 'arm; platform_machine == "aarch64"'])
    tiny.wheel("old", requires=["older"])
    tiny.wheel("older")
    tiny.wheel("arm")
    found = names(resolve(tiny, "app", pythons=("3.9", "3.11")))
    assert found == {
        "app-1.0-py3-none-any.whl": ("3.9", "3.11"),
        "old-1.0-py3-none-any.whl": ("3.9",),
        "older-1.0-py3-none-any.whl": ("3.9",),
    }
    arm = resolve(tiny, "app", architecture="arm64")
    assert set(names(arm)) == {"app-1.0-py3-none-any.whl", "arm-1.0-py3-none-any.whl"}


def test_an_entry_says_all_of_its_file(tiny: TinyIndex) -> None:
    made = tiny.wheel("some-app")
    (wheel,) = resolve(tiny, "Some_App").entries
    assert (wheel.project, wheel.version, wheel.file) == ("some-app", "1.0", made.name)
    assert (wheel.digest, wheel.size) == (Digest.of(made.data), len(made.data))
    assert (wheel.metadata.digest, wheel.metadata.size) == (Digest.of(made.description), len(made.description))


def test_the_wheel_is_the_one_that_pip_would_choose(tiny: TinyIndex) -> None:
    tags = ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64", "cp39-abi3-manylinux_2_28_x86_64"]
    tags += ["cp311-cp311-manylinux_2_39_x86_64", "cp311-cp311-musllinux_1_2_x86_64", "cp311-cp311-win_amd64"]
    for tag in [*tags, "py3-none-any"]:
        tiny.wheel("app", tag=tag)
    found = names(resolve(tiny, "app", pythons=("3.10", "3.11")))
    assert found == {
        "app-1.0-cp311-cp311-manylinux_2_28_x86_64.whl": ("3.11",),
        "app-1.0-cp39-abi3-manylinux_2_28_x86_64.whl": ("3.10",),
    }


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("more", [{}, {"size": None}], ids=["size", "no size"])
def test_what_the_index_does_not_tell_comes_from_the_wheel(
    tiny: TinyIndex, beside: bool, more: dict[str, None]
) -> None:
    made = tiny.wheel("app", beside=beside, more=more, body="#" * 300_000)
    (wheel,) = resolve(tiny, "app").entries
    assert (wheel.size, wheel.metadata.digest) == (len(made.data), Digest.of(made.description))


def test_metadata_that_is_announced_but_not_there_comes_out_of_the_wheel(tiny: TinyIndex) -> None:
    made = tiny.wheel("app")
    tiny.server.on(f"/files/{made.name}.metadata", ok(made.description), status(404))  # uv reads it first
    (wheel,) = resolve(tiny, "app").entries
    assert wheel.metadata.digest == Digest.of(made.description)


def test_other_metadata_than_announced_is_refused(tiny: TinyIndex) -> None:
    made = tiny.wheel("app")
    tiny.server.on(f"/files/{made.name}.metadata", ok(made.description), ok(made.description + b"more"))
    with pytest.raises(WrongBytes, match=r"app-1\.0.*metadata"):
        resolve(tiny, "app")


def test_pins_stay_and_update_moves_them(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=["lib"])
    tiny.wheel("lib")
    old = resolve(tiny, "app", pythons=("3.9", "3.11"))
    tiny.wheel("app", "2.0", requires=["lib"])
    tiny.wheel("lib", "2.0")
    tiny.wheel("lib", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")  # better, but not what is locked
    again = resolve(tiny, "app", pythons=("3.9", "3.11"), keep=old.entries)
    assert again == old
    one = resolve(tiny, "app", keep=old.entries, update=Update(names=frozenset({"lib"})))
    assert set(names(one)) == {"app-1.0-py3-none-any.whl", "lib-2.0-py3-none-any.whl"}
    every = resolve(tiny, "app", keep=old.entries, update=Update(everything=True))
    assert set(names(every)) == {"app-2.0-py3-none-any.whl", "lib-2.0-py3-none-any.whl"}
    assert (one.gone, every.gone) == ((), ())


def test_a_pin_gives_way_to_a_requirement(tiny: TinyIndex) -> None:
    tiny.wheel("app")
    old = resolve(tiny, "app")
    tiny.wheel("app", "2.0")
    moved = resolve(tiny, "app>=2", keep=old.entries)
    assert (set(names(moved)), moved.gone) == ({"app-2.0-py3-none-any.whl"}, ())


def test_a_withdrawn_version_stays_while_it_is_locked(tiny: TinyIndex) -> None:
    made = tiny.wheel("app")
    old = resolve(tiny, "app")
    tiny.drop("app", made.name)
    tiny.wheel("app", more={"yanked": "broken"})
    tiny.wheel("app", "0.9")
    assert resolve(tiny, "app", keep=old.entries) == old
    assert set(names(resolve(tiny, "app"))) == {"app-0.9-py3-none-any.whl"}


@pytest.mark.parametrize("change", ["gone", "other bytes"])
def test_a_pin_that_is_no_longer_served_is_named(tiny: TinyIndex, change: str) -> None:
    made = tiny.wheel("app")
    tiny.wheel("app", "1.1")
    tiny.wheel("other")
    old = resolve(tiny, "app==1.0", "other")
    tiny.drop("app", made.name)
    if change == "other bytes":
        tiny.wheel("app", body="other")
    tiny.drop("other", "other-1.0-py3-none-any.whl")  # no longer wanted: of no interest
    found = resolve(tiny, "app", keep=old.entries)
    assert [wheel.file for wheel in found.gone] == [made.name]
    assert [wheel.digest for wheel in found.entries] != [Digest.of(made.data)]
    assert resolve(tiny, "app", keep=old.entries, update=Update(names=frozenset({"app"}))).gone == ()


def sdist(tiny: TinyIndex) -> None:
    entry = {"filename": "app-1.0.tar.gz", "url": "../../files/app-1.0.tar.gz", "hashes": {"sha256": "0" * 64}}
    tiny.add("app", entry)


def other_platform(tiny: TinyIndex) -> None:
    tiny.wheel("app", tag="cp311-cp311-win_amd64")


def missing(tiny: TinyIndex) -> None:
    tiny.wheel("lib")


def unmet(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=["lib>=2"])
    tiny.wheel("lib")


def without_digest(tiny: TinyIndex) -> None:
    tiny.wheel("app", more={"hashes": {}})


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (sdist, r"app.*no usable wheels"),
        (other_platform, r"app.*no wheels with a matching"),
        (missing, r"app was not found"),
        (unmet, r"lib>=2"),
        (without_digest, r"app.*SHA-256"),
    ],
)
def test_what_cannot_be_met_says_why(tiny: TinyIndex, prepare: Callable[[TinyIndex], None], said: str) -> None:
    prepare(tiny)
    with pytest.raises(ResolutionFailed) as caught:
        resolve(tiny, "app")
    assert re.search(said, " ".join(caught.value.detail.split())), caught.value.detail


def test_a_target_that_wheels_are_not_made_for(tiny: TinyIndex) -> None:
    with pytest.raises(Unsupported):
        resolve(tiny, "app", architecture="riscv64")


def test_credentials_of_the_index_are_used_and_never_shown(tiny: TinyIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", tiny.url.replace("http://", "http://user:sec%40ret@"))
    tiny.wheel("app")
    index = PackageIndex(Transport(), Upstreams())
    found = resolve_wheels(["app"], pythons=["3.11"], glibc="manylinux_2_36", architecture="amd64", index=index)
    asked = [seen for seen in tiny.server.seen if seen.path.startswith("/files/")]
    assert asked
    assert all(seen.headers["authorization"] == "Basic dXNlcjpzZWNAcmV0" for seen in asked)
    with pytest.raises(ResolutionFailed) as failed:
        resolve_wheels(["none"], pythons=["3.11"], glibc="manylinux_2_36", architecture="amd64", index=index)
    with pytest.raises(NotFound) as absent:
        WheelLocator(index).locate(replace(found.entries[0], file="x.whl"))
    shown = f"{failed.value}{absent.value}{found}{index.files('app')}"
    assert "user" not in shown
    assert "ret@" not in shown


def test_the_locator_knows_files_by_name_and_digest(tiny: TinyIndex) -> None:
    made = tiny.wheel("app")
    (wheel,) = resolve(tiny, "app").entries
    assert WheelLocator(index_of(tiny)).locate(wheel).url == f"{tiny.server.url}/files/{made.name}"
    tiny.drop("app", made.name)
    with pytest.raises(NotFound, match=r"app-1\.0-py3-none-any\.whl"):
        WheelLocator(index_of(tiny)).locate(wheel)
    tiny.wheel("app", body="other")
    with pytest.raises(NotFound, match=str(wheel.digest)):
        WheelLocator(index_of(tiny)).locate(wheel)
