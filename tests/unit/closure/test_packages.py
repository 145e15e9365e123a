from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.closure.choices import choices
from bundler.closure.missing import Missing
from bundler.closure.packages import missing_by_apt, missing_by_relations, prove_packages
from bundler.model.asked import Asked, LockedTarget, PackageRole
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedDeb, deb_file
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from tests.bundles import bare_lock
from tests.lab import require_program


def deb(
    name: str, version: str = "1.0-1", *, archive: str = "debian", release: str = "bookworm", **fields: str
) -> LockedDeb:
    architecture = fields.pop("Architecture", "amd64")
    named = {"Package": name, "Version": version, "Architecture": architecture, "Maintainer": "T <t@example.com>"}
    named |= {key.replace("_", "-"): value for key, value in fields.items()}
    return LockedDeb(
        package=name,
        version=version,
        architecture=architecture,
        archive=archive,
        suite=release,
        release=release,
        path=f"pool/{deb_file(name, version, architecture)}",
        digest=Digest.of(f"{archive}{release}{named}".encode()),
        size=1000,
        control="\n".join(f"{key}: {value}" for key, value in named.items()),
    )


def asked(component: str, *packages: str) -> Asked:
    nothing = ("images", "revealed", "charts", "wheels", "files", "provides", "tools", "silences")
    return Asked(component=component, version="", packages=packages, **dict.fromkeys(nothing, ()))


def lock_of(
    debs: Iterable[LockedDeb],
    roles: Mapping[str, tuple[str, ...]],
    *,
    base: tuple[str, ...] = (),
    installed: bool = False,
    components: tuple[Asked, ...] = (),
    architectures: tuple[str, ...] = ("amd64",),
    unused: tuple[str, ...] = (),
) -> Lock:
    """A lock of these packages, for one release; `chosen` as the resolver has it. `unused` were not resolved for the
    first architecture."""
    debs, found = tuple(debs), []
    for architecture in architectures:
        target = LockedTarget(
            archive="debian",
            release="bookworm",
            architecture=architecture,
            base=base,
            installed=installed,
            roles=tuple(PackageRole(role=role, names=names) for role, names in roles.items()),
        )
        own = [each for each in debs if architecture != architectures[0] or each.package not in unused]
        found.append(replace(target, chosen=choices(target, own, debs, others=[target])))
    return bare_lock(debs=debs, targets=tuple(found), asked=components)


def without(lock: Lock, name: str) -> Lock:
    return replace(lock, debs=tuple(each for each in lock.debs if each.package != name))


BASE = (deb("shell", Essential="yes", Pre_Depends="libc"), deb("libc"), deb("apt"))
APP = (
    deb("app", Depends="lib (>= 1.0), awk, tool | other"),
    deb("lib", "1:2.0-1"),
    deb("mawk", Provides="awk"),
    deb("tool", Depends="other"),
    deb("other", Architecture="all"),
)
COMPLETE = lock_of(
    (*BASE, *APP),
    {"": ("app",), "db": ("app", "lib")},
    base=("apt", "shell"),
    components=(asked("web", "app"), asked("store", "lib")),
)


def found(lock: Lock) -> dict[str, tuple[str, ...]]:
    return {each.name: each.wanted_by for each in missing_by_relations(lock)}


def test_a_complete_lock_is_proved_by_apt_too() -> None:
    require_program("apt-get")
    assert COMPLETE.targets[0].chosen == (("mawk", "awk"), ("tool", "tool"))
    assert (missing_by_relations(COMPLETE), missing_by_apt(COMPLETE)) == ((), ())
    assert parse_lock(write_lock(COMPLETE), file="x").targets == COMPLETE.targets


@pytest.mark.parametrize(
    ("name", "wanted_by"),
    [
        ("app", ("component web", "component web (role db)")),
        ("lib", ("app 1.0-1 (lib (>= 1.0))", "component store (role db)")),
        ("mawk", ("app 1.0-1 (awk)",)),
        ("tool", ("app 1.0-1 (tool | other)",)),
        ("other", ("tool 1.0-1 (other)",)),
        ("shell", ("the base system (Essential)",)),
        ("libc", ("shell 1.0-1 (libc)",)),
        ("apt", ("the base system (Essential)",)),
    ],
)
def test_each_package_is_missed_by_name_and_by_who_wants_it(name: str, wanted_by: tuple[str, ...]) -> None:
    less = without(COMPLETE, name)
    assert found(less) == {name: wanted_by}
    assert prove_packages(less) == (
        Missing(kind="deb", target="debian/bookworm/amd64", name=name, wanted_by=wanted_by),
    )


@pytest.mark.parametrize(
    ("debs", "names", "expected"),
    [
        ([deb("app", Depends="lib (>= 2)"), deb("lib", "1.9")], ("app",), {"lib": ("app 1.0-1 (lib (>= 2))",)}),
        ([deb("app", Depends="lib (<< 2~)"), deb("lib", "2~rc1")], ("app",), {"lib": ("app 1.0-1 (lib (<< 2~))",)}),
        (
            [deb("app", Depends="api (>= 2)"), deb("lib", Provides="api")],
            ("app",),
            {"api": ("app 1.0-1 (api (>= 2))",)},
        ),
        ([deb("app", Depends="api (>= 2)"), deb("lib", Provides="api (= 2.1)")], ("app",), {}),
        ([deb("app", Depends="api:any"), deb("api", Multi_Arch="allowed")], ("app",), {}),
        ([deb("app", "1.0-1")], ("app=1.0-2",), {"app": ("the lock",)}),
        ([deb("app", Recommends="nice", Suggests="more")], ("app",), {}),
        ([deb("one", Depends="two"), deb("two", Depends="one")], ("one",), {}),
        ([deb("app", Depends="a | b"), deb("a", Depends="gone"), deb("b")], ("app",), {}),
        (
            [deb("app", Depends="a | b"), deb("a", Depends="gone"), deb("b", Depends="gone")],
            ("app",),
            {"gone": ("a 1.0-1 (gone)", "b 1.0-1 (gone)")},
        ),
        ([deb("app"), deb("unwanted", Depends="gone")], ("app",), {}),
        ([deb("app", Architecture="arm64")], ("app",), {"app": ("the lock",)}),
        ([deb("app", release="trixie")], ("app",), {"app": ("the lock",)}),
        ([deb("app", archive="cuda", Depends="lib"), deb("lib", archive="debian-security")], ("app",), {}),
    ],
)
def test_relations_as_apt_reads_them(
    debs: list[LockedDeb], names: tuple[str, ...], expected: dict[str, tuple[str, ...]]
) -> None:
    require_program("apt-get")
    lock = lock_of(debs, {"": names})
    lock = replace(lock, targets=tuple(replace(target, chosen=()) for target in lock.targets))
    assert found(lock) == expected
    assert bool(missing_by_apt(lock)) == bool(expected)


def test_apt_is_the_judge_of_what_relations_do_not_show() -> None:
    require_program("apt-get")
    lock = lock_of([deb("app", Depends="lib"), deb("lib", Conflicts="other"), deb("other")], {"": ("app", "other")})
    assert missing_by_relations(lock) == ()
    (missing,) = prove_packages(lock)
    assert "Conflicts: other" in missing.why


def test_a_release_of_another_archive_does_not_help() -> None:
    lock = lock_of([deb("app", Depends="lib"), deb("lib", archive="raspbian")], {"": ("app",)})
    assert found(lock) == {}
    other = replace(lock.targets[0], archive="raspbian", roles=(), chosen=())
    lock = replace(lock, targets=(*lock.targets, other))
    assert found(lock) == {"lib": ("app 1.0-1 (lib)",)}


def test_a_package_of_all_architectures_need_not_work_on_each() -> None:
    debs = [
        deb("app", Architecture="arm64", Depends="data"),
        deb("data", Architecture="all", Depends="native"),
        deb("native", Architecture="arm64"),
        deb("app", Depends="small | data"),
        deb("small"),
    ]
    lock = lock_of(debs, {"": ("app",)}, architectures=("amd64", "arm64"), unused=("data",))
    assert prove_packages(lock) == ()


def test_what_a_host_has_installed_need_not_be_carried() -> None:
    require_program("apt-get")
    debs = [deb("app", Depends="libc (>= 2), virtual, python3:any, late")]
    base = ("libc=2.36-9", "python3=3.11", "virtual")
    lock = lock_of(debs, {"": ("app", "libc")}, base=base, installed=True)
    assert found(lock) == {"late": ("app 1.0-1 (late)",)}
    lock = replace(lock, debs=(*debs, deb("late")))
    assert (missing_by_relations(lock), missing_by_apt(lock)) == ((), ())
    older = replace(lock.targets[0], base=("libc=1.0", "python3=3.11", "virtual"))
    lock = replace(lock, targets=(older,))
    assert [each.name for each in missing_by_relations(lock)] == ["libc"]
    assert [each.name for each in missing_by_apt(lock)] == ["libc"]


NAMES = [f"p{number}" for number in range(8)]
ALTERNATIVES = st.lists(st.sampled_from([*NAMES, "v0", "v1"]), min_size=1, max_size=3, unique=True).map(" | ".join)
PACKAGE = st.tuples(st.lists(ALTERNATIVES, max_size=3).map(", ".join), st.sampled_from(["", "v0", "v1", "v0, v1"]))


@given(packages=st.lists(PACKAGE, min_size=1, max_size=8), asked=st.sets(st.integers(0, 7), min_size=1))
def test_no_package_of_a_complete_lock_can_go_unnoticed(packages: list[tuple[str, str]], asked: set[int]) -> None:
    """For any lock that is complete: without one of its packages, that package is named."""
    debs = [
        deb(name, **{key: value for key, value in (("Depends", depends), ("Provides", provides)) if value})
        for name, (depends, provides) in zip(NAMES, packages, strict=False)
    ]
    lock = lock_of(debs, {"": tuple(f"p{number}" for number in sorted(asked) if number < len(debs))})
    if missing_by_relations(lock):
        return
    for each in debs:
        assert each.package in {missing.name for missing in missing_by_relations(without(lock, each.package))}


def test_what_no_host_asks_for_is_missing_too() -> None:
    lock = replace(COMPLETE, asked=(*COMPLETE.asked, asked("more", "lib", "forgotten")))
    assert [str(each) for each in prove_packages(lock)] == ["deb forgotten for bare, wanted by component more"]


def test_a_finding_in_one_line() -> None:
    few = Missing(kind="deb", target="debian/bookworm/amd64", name="lib", wanted_by=("a 1 (lib)", "b 1 (lib)"))
    assert str(few) == "deb lib for debian/bookworm/amd64, wanted by a 1 (lib), b 1 (lib)"
    many = replace(few, wanted_by=tuple(f"p{number} 1 (lib)" for number in range(9)))
    assert str(many).endswith("wanted by p0 1 (lib), p1 1 (lib), p2 1 (lib) and 6 more")
