import platform
import sys

import pytest
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name
from packaging.version import Version

from bundler.errors import Unsupported
from bundler.sources.wheel_target import WheelTarget
from tests.lab import require


def target(python: str = "3.11", glibc: str = "manylinux_2_36", architecture: str = "amd64") -> WheelTarget:
    return WheelTarget.of(python=python, glibc=glibc, architecture=architecture)


def test_for_this_interpreter_the_tags_are_its_own() -> None:
    here = (sys.platform, platform.machine(), platform.libc_ver()[0])
    require("glibc on x86_64", here == ("linux", "x86_64", "glibc"), f"this is {here}", impossible=True)
    glibc = platform.libc_ver()[1].replace(".", "_")
    ours = target(f"{sys.version_info.major}.{sys.version_info.minor}", f"manylinux_{glibc}")
    assert sorted(ours.places, key=ours.places.__getitem__) == list(dict.fromkeys(sys_tags()))


# Best first; None: not for the target.
BEST_FIRST = [
    "app-1.0-2-cp311-cp311-manylinux_2_36_x86_64.whl",
    "app-1.0-1-cp311-cp311-manylinux_2_36_x86_64.whl",
    "app-1.0-cp311-cp311-manylinux_2_36_x86_64.whl",
    "app-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "app-1.0-cp311-abi3-manylinux_2_28_x86_64.whl",
    "app-1.0-cp38-abi3-manylinux1_x86_64.whl",
    "app-1.0-py3-none-manylinux2014_x86_64.whl",
    "app-1.0-py3-none-any.whl",
]
NOT_FOR_IT = [
    "app-1.0-cp311-cp311-manylinux_2_37_x86_64.whl",
    "app-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    "app-1.0-cp312-abi3-manylinux_2_17_x86_64.whl",
    "app-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    "app-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
    "app-1.1-py3-none-any.whl",
    "other-1.0-py3-none-any.whl",
    "app-1.0.tar.gz",
    "../app-1.0-py3-none-any.whl",
    "app-1!1.0-py3-none-any.whl",
    "",
]


def test_the_order_of_files() -> None:
    ranks = [target().rank(file, canonicalize_name("app"), Version("1.0")) for file in BEST_FIRST]
    assert None not in ranks
    assert sorted(ranks, key=lambda rank: rank or (0, ()), reverse=True) == ranks
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize("file", NOT_FOR_IT)
def test_files_for_other_targets(file: str) -> None:
    assert target().rank(file, canonicalize_name("app"), Version("1.0")) is None


@pytest.mark.parametrize(
    ("glibc", "architecture", "named"),
    [
        ("manylinux2014", "amd64", "x86_64-manylinux_2_17"),
        ("manylinux_2_17", "arm64", "aarch64-manylinux_2_17"),
        ("manylinux_2_30", "amd64", "x86_64-manylinux_2_28"),
        ("manylinux_2_36", "amd64", "x86_64-manylinux_2_36"),
        ("manylinux_2_41", "amd64", "x86_64-manylinux_2_40"),
    ],
)
def test_the_resolvers_name_for_it(glibc: str, architecture: str, named: str) -> None:
    assert target(glibc=glibc, architecture=architecture).uv_platform == named


@pytest.mark.parametrize(("glibc", "architecture"), [("manylinux_2_12", "amd64"), ("manylinux_2_36", "riscv64")])
def test_no_wheels_are_made_for_it(glibc: str, architecture: str) -> None:
    with pytest.raises(Unsupported):
        target(glibc=glibc, architecture=architecture)
