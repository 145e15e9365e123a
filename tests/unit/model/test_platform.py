import pytest
from hypothesis import given

from bundler.errors import Malformed
from bundler.model.platform import Platform
from tests import strategies


@given(strategies.platforms)
def test_round_trip(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform
    assert platform.matches(platform)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "linux",
        "linux/",
        "/amd64",
        "linux/amd64/",
        "linux//v7",
        "linux/arm/v7/x",
        "Linux/amd64",
        "linux/amd 64",
        "linux/amd64\n",
        "../amd64",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "image", "matches"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/arm/v7", "linux/arm", False),
        ("linux/arm/v7", "linux/arm/v6", False),
    ],
)
def test_matches(wanted: str, image: str, matches: bool) -> None:
    assert Platform.parse(wanted).matches(Platform.parse(image)) is matches
