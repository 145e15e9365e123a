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
    constraints: tuple[str, ...] = (),
) -> Resolved[LockedWheel]:
    return resolve_wheels(
        requirements,
        pythons=pythons,
        glibc="manylinux_2_36",
        architecture=architecture,
        index=index_of(tiny),
        constraints=constraints,
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


def sdist(tiny: TinyIndex, version: str = "1.0") -> None:
    file = f"app-{version}.tar.gz"
    tiny.add("app", {"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": "0" * 64}})


def older_wheel(tiny: TinyIndex) -> None:
    sdist(tiny, "2.0")
    tiny.wheel("app", "0.8", tag="cp311-cp311-manylinux_2_17_x86_64")
    tiny.wheel("app", "0.9", tag="cp39-cp39-manylinux_2_17_x86_64")
    tiny.wheel("top", requires=["app>=1"])


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
        (sdist, r"app has only a source distribution for Python 3\.11 on x86_64 with glibc 2\.36.*`pip wheel`"),
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


def test_a_source_distribution_comes_with_the_versions_that_have_a_wheel(tiny: TinyIndex) -> None:
    older_wheel(tiny)
    with pytest.raises(ResolutionFailed, match=r"Versions of app with a wheel for it: 0\.8\.$"):
        resolve(tiny, "top")


def test_constraints_bound_what_something_else_asks_for(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=["lib"])
    for version in ("1.0", "2.0"):
        tiny.wheel("lib", version)
    assert set(names(resolve(tiny, "app", constraints=("lib<2", "unrelated>=1")))) == {
        "app-1.0-py3-none-any.whl",
        "lib-1.0-py3-none-any.whl",
    }
    with pytest.raises(ResolutionFailed, match=r"lib"):
        resolve(tiny, "app", constraints=("lib>=3",))


def test_extras_and_what_they_need(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=['fast; extra == "speed"', 'other; extra == "more"'], extras=("speed", "more"))
    tiny.wheel("fast")
    found = resolve(tiny, "app[speed]")
    assert set(names(found)) == {"app-1.0-py3-none-any.whl", "fast-1.0-py3-none-any.whl"}
    app = next(wheel for wheel in found.entries if wheel.project == "app")
    assert app.requires == (
        'Requires-Dist: fast; extra == "speed"',
        'Requires-Dist: other; extra == "more"',
        "Provides-Extra: speed",
        "Provides-Extra: more",
    )


def test_a_version_for_other_interpreters_and_a_prerelease_are_passed_over(tiny: TinyIndex) -> None:
    tiny.wheel("app", "1.0")
    tiny.wheel("app", "2.0", requires_python=">=3.12")
    tiny.wheel("app", "3.0rc1")
    found = resolve(tiny, "app", pythons=("3.9", "3.12"))
    assert names(found) == {"app-1.0-py3-none-any.whl": ("3.9",), "app-2.0-py3-none-any.whl": ("3.12",)}
    assert [wheel.requires for wheel in found.entries] == [(), ("Requires-Python: >=3.12",)]
    assert set(names(resolve(tiny, "app>=3.0rc1"))) == {"app-3.0rc1-py3-none-any.whl"}


def test_several_interpreters_and_platforms_share_what_they_can(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=["pure"])
    pythons = ("3.9", "3.10", "3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64"):
        for python in pythons:
            tag = f"cp{python.replace('.', '')}"
            tiny.wheel("app", requires=["pure"], tag=f"{tag}-{tag}-manylinux_2_17_{machine}")
    tiny.wheel("pure")
    both = [resolve(tiny, "app", pythons=pythons, architecture=each) for each in ("amd64", "arm64")]
    assert [len(each.entries) for each in both] == [6, 6]
    assert len(set(both[0].entries) | set(both[1].entries)) == 11
    assert names(both[1])["app-1.0-cp39-cp39-manylinux_2_17_aarch64.whl"] == ("3.9",)
    # A better file of the locked version appears for one platform: the pins of neither move.
    tiny.wheel("app", requires=["pure"], tag="cp311-cp311-manylinux_2_28_x86_64")
    locked = (*both[0].entries, *both[1].entries)
    for found, architecture in zip(both, ("amd64", "arm64"), strict=True):
        assert resolve(tiny, "app", pythons=pythons, architecture=architecture, keep=locked).entries == found.entries


def test_requirements_are_filled_in_for_a_pin_that_has_none(tiny: TinyIndex) -> None:
    tiny.wheel("app", requires=["lib"])
    tiny.wheel("lib")
    old = resolve(tiny, "app")
    bare = tuple(replace(wheel, requires=()) for wheel in old.entries)
    assert resolve(tiny, "app", keep=bare) == old


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
