import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.reference import Reference, is_repository
from tests import strategies

D = str(Digest.of(b""))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        # Docker Hub and its defaults
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        (f"nginx@{D}", f"docker.io/library/nginx@{D}"),
        (f"nginx:1.25@{D}", f"docker.io/library/nginx:1.25@{D}"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        # other hosts: a dot, a colon, `localhost` or an upper-case letter makes a host
        ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a:5000", "localhost:5000/a:5000"),
        ("host:5000/a", "host:5000/a:latest"),
        ("host/a", "docker.io/host/a:latest"),
        ("HOST/a", "HOST/a:latest"),
        ("Example.COM/a", "Example.COM/a:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]/a", "[::1]/a:latest"),
        ("[2001:db8::1]:5000/a@" + D, "[2001:db8::1]:5000/a@" + D),
        # components and tags
        ("a.b/c.d_e__f-g---h", "a.b/c.d_e__f-g---h:latest"),
        ("a:_", "docker.io/library/a:_"),
        ("a:" + "T" * 128, "docker.io/library/a:" + "T" * 128),
        ("a.b/" + "x" * 251, "a.b/" + "x" * 251 + ":latest"),
        ("a" * 63, f"docker.io/library/{'a' * 63}:latest"),
    ],
)
def test_parse(text: str, canonical: str) -> None:
    assert str(Reference.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        ":1",
        "a:",
        "a@",
        f"@{D}",
        "/a",
        "a/",
        "a//b",
        "a/B",
        "A",
        "a:1:2",
        "a:b/c",
        "a b",
        "a\n",
        "a:1\n",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a.-b",
        "..",
        "quay.io/../a",
        "quay.io/a/..",
        "https://quay.io/a",
        "quay.io:/a",
        "quay.io:port/a",
        "quay.io:123456/a",
        "-quay.io/a",
        "quay-.io/a",
        "quay..io/a",
        "user@quay.io/a",
        "[::1/a",
        "[::g]/a",
        "[::1]5000/a",
        "ä.de/a",
        "a:" + "T" * 129,
        "a:.1",
        "a.b/" + "x" * 252,
        "a" * 64,  # an image's id
        f"a@{D}@{D}",
        f"a@{D[:-1]}",
        "a@sha512:" + "0" * 128,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Reference.parse(text)


@given(strategies.references)
def test_round_trip(reference: Reference) -> None:
    parsed = Reference.parse(str(reference))
    assert parsed == reference
    assert reference.name == f"{reference.registry}/{reference.repository}"
    assert is_repository(parsed.site_repository)


@given(st.text(st.sampled_from("aB0.:/@_-[]\n")) | st.text())
def test_total_and_settled(text: str) -> None:
    try:
        canonical = str(Reference.parse(text))
    except Malformed:
        return
    assert str(Reference.parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("Host.Example:5000/a", "host.example_5000/a"),
        ("[::1]:5000/a", "ip6---1_5000/a"),
        ("[2001:DB8::]/a", "ip6-2001-db8--0/a"),
    ],
)
def test_site_repository(text: str, site: str) -> None:
    assert Reference.parse(text).site_repository == site
    assert is_repository(site)
