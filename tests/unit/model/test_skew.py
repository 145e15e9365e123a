import pytest

from bundler.errors import InvalidDocument
from bundler.model.skew import find_skew, parse_table, table

DRIVER = {"nvidia-driver": "535.104.05", "kernel-headers": "6.1.0-28-amd64"}
FITS = [
    {},
    {"kubernetes": "1.36.3", "containerd": "2.2.9", "helm": "3.22.0"},
    {"kubernetes": "1.28.15", "containerd": "1.7.27", "helm": "3.16.4", "cni-plugins": "1.2.0"},
    {"kubernetes": "v1.34.1", "containerd": "1.7.28"},
    {"cuda": "12.1.1", **DRIVER},
    {"triton": "23.05", **DRIVER},
    {"triton": "23.05", **DRIVER, "nvidia-driver": "525.85.12"},
    {"helm": "3.12.3"},  # alone there is nothing that it does not fit
]
# What is provided, and the names of all that does not fit.
CLASHES = [
    ({"kubernetes": "1.36.3", "containerd": "1.7.29"}, ["kubernetes/containerd"]),
    ({"kubernetes": "1.36.3"}, ["kubernetes/containerd"]),
    ({"kubernetes": "1.28.2", "containerd": "1.7.2", "helm": "3.12.3"}, ["helm/kubernetes"]),
    ({"kubernetes": "1.36.3", "containerd": "2.2.0", "helm": "3.16.4"}, ["helm/kubernetes"]),
    ({"kubernetes": "1.34.0", "containerd": "2.1.2"}, ["kubernetes/containerd"]),
    ({"kubernetes": "1.28.2", "containerd": "1.7.2", "cni-plugins": "1.1.1"}, ["kubernetes/cni-plugins"]),
    ({"cuda": "12.1.1", **DRIVER, "nvidia-driver": "520.61.05"}, ["cuda/nvidia-driver"]),
    ({"triton": "23.05", **DRIVER, "nvidia-driver": "525.60.13"}, ["triton/nvidia-driver"]),
    ({"nvidia-driver": "535.104.05"}, ["nvidia-driver/kernel-headers"]),
    ({"ofed": "24.10"}, ["ofed/kernel-headers"]),
    ({"device-plugin": "0.14.0", "nvidia-container-toolkit": "1.6.0"}, ["device-plugin/nvidia-container-toolkit"]),
]


@pytest.mark.parametrize("provided", FITS, ids=str)
def test_what_fits(provided: dict[str, str]) -> None:
    assert find_skew(provided) == ()


@pytest.mark.parametrize(("provided", "names"), CLASHES, ids=str)
def test_what_does_not_fit(provided: dict[str, str], names: list[str]) -> None:
    found = find_skew(provided)
    assert [each.name for each in found] == names
    for each in found:
        having, other = each.name.split("/")
        assert f"{having} {provided[having]} needs {other} {each.expected}" in str(each)
        assert each.source in str(each)
        assert (provided.get(other, "nothing provides it")) in str(each)


def test_every_row_has_a_source_and_a_range_that_can_be_broken() -> None:
    for row in table():
        assert row.source.strip()
        assert row.needs or row.required
        for name, range_ in (*row.needs, *row.required):
            assert find_skew({**{key: _inside(value) for key, value in row.when}, name: "0.0.1"}), (name, range_)


def _inside(range_: str) -> str:
    """The lower end of a range `>=X,…`."""
    return range_.partition(",")[0].removeprefix(">=")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rows:\n- {when: {a: '>=x'}, needs: {b: '>=1'}, source: s}", 2),
        ("rows:\n- {when: {a: '>=1'}, needs: {b: '1||'}, source: s}", 2),
        ("rows:\n- when: {a: '>=1'}\n  needs: {b: '>=1'}", 2),
        ("rows: {}", 1),
    ],
)
def test_broken_tables(text: str, line: int) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_table(text, file="skew.yaml")
    assert caught.value.problems[0].line == line
