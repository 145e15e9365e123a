"""The licence gate: all that is not accepted, at once, with the line that accepts it."""

from pathlib import Path

import pytest

from bundler.catalog.licenses import check_licenses, unaccepted
from bundler.catalog.load import Declared, load
from bundler.catalog.manifests import Manifests
from bundler.errors import LicenseNotAccepted

DRIVER = """\
component: driver
files:
- {name: driver.run, url: 'https://dl.example/driver.run', license: NVIDIA-Driver}
- {name: open.run, url: 'https://dl.example/open.run'}
versions:
  "2":
    files:
    - {name: ofed.tgz, url: 'https://dl.example/ofed.tgz', license: MLNX}
"""
SERVER = """\
component: server
images:
- {reference: 'registry.example/server:1', license: NVIDIA-Driver}
- registry.example/other:1
charts:
- {chart: server, repository: 'oci://registry.example/charts', license: BSL-1.1}
"""


def declared(folder: Path, accepted: str = "", driver: str = "driver@2") -> Declared:
    for kind in ("profiles", "components"):
        (folder / kind).mkdir(exist_ok=True)
    (folder / "components/driver.yaml").write_text(DRIVER)
    (folder / "components/server.yaml").write_text(SERVER)
    (folder / "profiles/site.yaml").write_text(
        "profile: site\nrelease: {line: site, number: 1}\nplatforms: [linux/amd64]\nbootstrap: {python: []}\n"
        f"components: [{driver}, server]\n" + (f"accept_license: [{accepted}]\n" if accepted else "")
    )
    return load("site", manifests=Manifests(folders=(folder,)))


FILE = ("NVIDIA-Driver", "the file driver.run of the component driver")
OFED = ("MLNX", "the file ofed.tgz of the component driver")
IMAGE = ("NVIDIA-Driver", "the image registry.example/server:1 of the component server")
CHART = ("BSL-1.1", "the chart server of the component server")


@pytest.mark.parametrize(
    ("accepted", "needed"),
    [
        ("", (CHART, OFED, FILE, IMAGE)),
        ("MLNX", (CHART, FILE, IMAGE)),
        ("NVIDIA-Driver", (CHART, OFED)),
        ("nvidia-driver", (CHART, OFED, FILE, IMAGE)),
        ("NVIDIA-Driver, MLNX, BSL-1.1", ()),
        ("NVIDIA-Driver, MLNX, BSL-1.1, Never-Needed", ()),
    ],
)
def test_unaccepted(tmp_path: Path, accepted: str, needed: tuple[tuple[str, str], ...]) -> None:
    assert unaccepted(declared(tmp_path, accepted)) == needed


def test_an_entry_of_a_version_that_was_not_chosen(tmp_path: Path) -> None:
    text = DRIVER.replace('"2":', '"1": {}\n  "2":')
    (tmp_path / "components").mkdir()
    made = declared(tmp_path)
    assert OFED in unaccepted(made)
    (tmp_path / "components/driver.yaml").write_text(text)
    profile = tmp_path / "profiles/site.yaml"
    profile.write_text(profile.read_text().replace("driver@2", "driver@1"))
    assert OFED not in unaccepted(load("site", manifests=Manifests(folders=(tmp_path,))))


def test_the_error_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(LicenseNotAccepted) as caught:
        check_licenses(declared(tmp_path, "MLNX, Never-Needed"))
    assert caught.value.hint.splitlines()[-1] == "accept_license: [MLNX, Never-Needed, BSL-1.1, NVIDIA-Driver]"
    assert caught.value.detail.splitlines() == [f"{name}: {entry}" for name, entry in (CHART, FILE, IMAGE)]
    assert caught.value.summary == "the profile site does not accept 2 licences"
    (tmp_path / "profiles/site.yaml").write_text(
        (tmp_path / "profiles/site.yaml").read_text().partition("accept")[0] + caught.value.hint.splitlines()[-1] + "\n"
    )
    check_licenses(load("site", manifests=Manifests(folders=(tmp_path,))))
