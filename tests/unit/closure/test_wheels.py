from collections.abc import Sequence
from dataclasses import replace

import pytest

from bundler.closure.missing import Missing
from bundler.closure.wheels import missing_by_metadata, missing_by_resolver, prove_wheels
from bundler.errors import Unsupported
from bundler.model.asked import Asked
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedBootstrap, LockedWheel
from bundler.model.platform import Platform
from tests.bundles import bare_lock

X86 = "Python {} on x86_64 with glibc 2.36"


def wheel(
    project: str,
    version: str = "1.0",
    *requires: str,
    python: str = "",
    extras: Sequence[str] = (),
    tag: str = "py3-none-any",
    pythons: tuple[str, ...] = ("3.11",),
) -> LockedWheel:
    file = f"{project.replace('-', '_')}-{version}-{tag}.whl"
    lines = [f"Requires-Python: {python}"] if python else []
    lines += [f"Requires-Dist: {each}" for each in requires] + [f"Provides-Extra: {each}" for each in extras]
    return LockedWheel(
        project=project,
        version=version,
        file=file,
        digest=Digest.of(file.encode()),
        size=1000,
        metadata=Descriptor(media_type="text/plain", digest=Digest.of(b""), size=0),
        pythons=pythons,
        requires=tuple(lines),
    )


def asked(component: str, *wheels: str) -> Asked:
    nothing = ("images", "revealed", "charts", "packages", "files", "provides", "tools", "silences")
    return Asked(component=component, version="", wheels=wheels, **dict.fromkeys(nothing, ()))


def lock_of(wheels: Sequence[LockedWheel], *requirements: str, pythons: tuple[str, ...] = ("3.11",)) -> Lock:
    return bare_lock(wheels=tuple(wheels), asked=(asked("web", *requirements),), pythons=pythons)


def found(lock: Lock) -> dict[str, tuple[str, ...]]:
    return {each.name: each.wanted_by for each in missing_by_metadata(lock)}


ARM = "cp311-cp311-manylinux_2_17_aarch64"
AMD = "cp311-cp311-manylinux_2_17_x86_64"
BOTH = ("3.9", "3.11")
COMPLETE = replace(
    lock_of(
        [
            wheel("app", "1.0", "lib>=1", 'old; python_version < "3.10"', pythons=BOTH),
            wheel("lib", "1.5", 'fast; extra == "speed"', extras=("speed",), pythons=("3.9",)),
            wheel("lib", "2.0", 'fast; extra == "speed"', extras=("speed",), python=">=3.10"),
            wheel("old", pythons=("3.9",)),
            wheel("fast", tag=AMD),
            wheel("fast", tag=ARM),
            wheel("fast", tag=AMD.replace("311", "39"), pythons=("3.9",)),
            wheel("fast", tag=ARM.replace("311", "39"), pythons=("3.9",)),
        ],
        "app",
        "lib[speed]",
        pythons=BOTH,
    ),
    platforms=(Platform("linux", "amd64"), Platform("linux", "arm64")),
)


def test_a_complete_lock_is_proved_by_the_resolver_too() -> None:
    assert (missing_by_metadata(COMPLETE), missing_by_resolver(COMPLETE)) == ((), ())


@pytest.mark.parametrize("at", range(len(COMPLETE.wheels)))
def test_each_wheel_is_missed_by_its_project_and_by_who_wants_it(at: int) -> None:
    gone = COMPLETE.wheels[at]
    less = replace(COMPLETE, wheels=(*COMPLETE.wheels[:at], *COMPLETE.wheels[at + 1 :]))
    missing = missing_by_metadata(less)
    machines = {"x86_64", "aarch64"} if "none-any" in gone.file else {gone.file.removesuffix(".whl")[-7:].lstrip("7_")}
    assert {each.name for each in missing} == {gone.project}
    assert len(missing) == len(machines) * len(gone.pythons)
    assert all(each.wanted_by for each in missing)
    if at % 3 == 0:  # a sample: the resolver takes its time
        assert {each.target for each in missing_by_resolver(less)} == {each.target for each in missing}


def test_who_wants_it_is_told() -> None:
    lock = lock_of([wheel("app", "1.0", "lib>=2"), wheel("lib", "1.0")], "app", "lib")
    assert prove_wheels(lock) == (
        Missing(kind="wheel", target=X86.format("3.11"), name="lib", wanted_by=("app 1.0 (lib>=2)",)),
    )


@pytest.mark.parametrize(
    ("wheels", "requirements", "expected"),
    [
        ([], ("app",), {"app": ("component web (app)",)}),
        ([wheel("app", "2.0rc1")], ("app>=1",), {}),
        ([wheel("app", "1.0")], ("app>=2",), {"app": ("component web (app>=2)",)}),
        ([wheel("app", python=">=3.12")], ("app",), {"app": ("component web (app)",)}),
        ([wheel("app", python=">=3.8,!=3.11.0")], ("app",), {}),
        ([wheel("app", "1.0", 'win; sys_platform == "win32"')], ("app",), {}),
        (
            [wheel("app", "1.0", 'lin; sys_platform == "linux"')],
            ("app",),
            {"lin": ('app 1.0 (lin; sys_platform == "linux")',)},
        ),
        ([wheel("app", "1.0", 'lib; extra == "x"', extras=("x",))], ("app",), {}),
        (
            [wheel("app", "1.0", 'lib; extra == "x"', extras=("x",))],
            ("app[X]",),
            {"lib": ('app 1.0 (lib; extra == "x")',)},
        ),
        ([wheel("one", "1.0", "two"), wheel("two", "1.0", "one")], ("one",), {}),
        ([wheel("some-app", "1.0")], ("Some.App==1.0",), {}),
        ([wheel("app", tag="cp312-cp312-manylinux_2_17_x86_64")], ("app",), {"app": ("component web (app)",)}),
        ([wheel("app", tag="cp39-abi3-manylinux_2_34_x86_64")], ("app",), {}),
        ([wheel("app", tag="cp39-abi3-manylinux_2_39_x86_64")], ("app",), {"app": ("component web (app)",)}),
    ],
)
def test_requirements_as_uv_reads_them(
    wheels: list[LockedWheel], requirements: tuple[str, ...], expected: dict[str, tuple[str, ...]]
) -> None:
    lock = lock_of(wheels, *requirements)
    assert found(lock) == expected
    assert [each.name for each in missing_by_resolver(lock)] == list(expected)


def test_constraints_hold_in_the_proof_too() -> None:
    lock = replace(lock_of([wheel("app", "2.0")], "app"), constraints=("app<2",))
    (missing,) = prove_wheels(lock)
    assert (missing.name, missing.wanted_by, "app<2" in missing.why) == ("app", ("component web",), True)


def test_the_tool_itself_is_proved_for_each_of_its_pythons() -> None:
    bootstrap = LockedBootstrap(pythons=("3.11", "3.12"), wheels=(wheel("click", "8.1", pythons=("3.11",)),))
    lock = bare_lock(bootstrap=bootstrap)
    assert [(each.target, each.name, each.wanted_by) for each in prove_wheels(lock, ["click>=8"])] == [
        (X86.format("3.12"), "click", ("the tool itself (click>=8)",))
    ]
    assert {each.name for each in prove_wheels(lock)} >= {"click", "cryptography", "pyyaml"}
    assert prove_wheels(bare_lock()) == ()


def test_a_target_that_wheels_are_not_made_for() -> None:
    lock = replace(lock_of([], "app"), platforms=(Platform("linux", "riscv64"),))
    with pytest.raises(Unsupported):
        prove_wheels(lock)
