"""`--upstream HOST=URL`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.transport import Upstreams


@pytest.mark.parametrize(
    ("value", "name", "base"),
    [
        ("docker.io=http://127.0.0.1:5055", "docker.io", "http://127.0.0.1:5055"),
        ("Quay.IO=https://mirror.example/quay/", "quay.io", "https://mirror.example/quay"),
        ("localhost:5000=http://[::1]:80", "LOCALHOST:5000", "http://[::1]:80"),
        ("[::1]:5000=http://h", "[::1]:5000", "http://h"),
        ("pypi=https://h/simple/", "pypi", "https://h/simple"),
    ],
)
def test_upstreams(value, name, base):
    upstreams = Upstreams.parse([value])
    assert upstreams.base(name) == base
    assert upstreams.base("other") is None


def test_mirrors():
    upstreams = Upstreams.parse(
        ["quay.io=http://u"], ["docker.io=http://b/", "Docker.io=http://a/x", "docker.io=http://b", "quay.io=http://c"]
    )
    assert upstreams.mirrors("DOCKER.io") == ("http://b", "http://a/x")
    assert (upstreams.mirrors("quay.io"), upstreams.base("quay.io")) == (("http://c",), "http://u")
    assert upstreams.mirrors("other") == ()
    with pytest.raises(Malformed):
        Upstreams.parse([], ["docker.io=http://user:secret@h"])


@pytest.mark.parametrize(
    "values",
    [
        ["docker.io"],
        ["=http://h"],
        ["docker.io="],
        ["docker.io=h:5000"],
        ["docker.io=ftp://h"],
        ["docker.io=http://"],
        ["docker.io=http://h:99999"],
        ["docker.io=http://user:secret@h"],
        ["docker.io=http://h?x=1"],
        ["docker.io=http://h#x"],
        ["docker.io=http://h\\@g"],
        ["docker.io=http://h g"],
        ["docker io=http://h"],
        ["docker.io/x=http://h"],
        ["a=http://h", "A=http://g"],
    ],
)
def test_malformed(values):
    with pytest.raises(Malformed) as caught:
        Upstreams.parse(values)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_value_is_an_upstream_or_malformed(name, url):
    try:
        upstreams = Upstreams.parse([f"{name}={url}"])
    except Malformed:
        return
    assert all(base.startswith(("http://", "https://")) for base in upstreams.bases.values())
