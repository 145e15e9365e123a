import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.sources.installed import base_offers, base_status, installed, needed_of
from bundler.sources.relations import Offers, asked_for, compare, depends_of, offer_of, parse_relations
from tests.lab import require_program

VERSIONS = st.from_regex(r"(?:[0-2]:)?[0-9][0-9a.+~]{0,6}(?:-[0-9a+~]{1,4})?", fullmatch=True)


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0", "1.0-1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.0~rc1-1", "1.0-1"),
        ("1.0~~", "1.0~"),
        ("1.9", "1.10"),
        ("1.0a", "1.0+"),
        ("2.0", "1:0.1"),
        ("1.2a", "1.2.3"),
        ("0", "0a"),
    ],
)
def test_versions_in_order(lower: str, higher: str) -> None:
    assert compare(lower, higher) < 0 < compare(higher, lower)
    assert compare(lower, lower) == 0


@pytest.mark.parametrize(("one", "other"), [("1.0", "0:1.0"), ("1.0-0", "1.0"), ("1.00", "1.0"), ("01", "1")])
def test_versions_that_are_equal(one: str, other: str) -> None:
    assert compare(one, other) == 0


@given(one=VERSIONS, other=VERSIONS)
def test_dpkg_orders_versions_the_same(one: str, other: str) -> None:
    dpkg = require_program("dpkg")
    order = compare(one, other)
    sign = "lt" if order < 0 else "gt" if order > 0 else "eq"
    assert subprocess.run([dpkg, "--compare-versions", one, sign, other], check=False).returncode == 0


def test_relations_of_a_field() -> None:
    found = list(parse_relations("libc6 (>= 2.34),\n python3:any | python3.11 (= 3.11.2-6), , gone(<<1)"))
    assert [relation.text for relation in found] == [
        "libc6 (>= 2.34)",
        "python3:any | python3.11 (= 3.11.2-6)",
        "gone(<<1)",
    ]
    assert [[(atom.name, atom.operator, atom.version) for atom in relation.atoms] for relation in found] == [
        [("libc6", ">=", "2.34")],
        [("python3", "", ""), ("python3.11", "=", "3.11.2-6")],
        [("gone", "<<", "1")],
    ]


@given(text=st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    for relation in parse_relations(text):
        assert relation.names


@pytest.mark.parametrize(
    ("relation", "met"),
    [
        ("lib", True),
        ("lib (= 1:2.0-1)", True),
        ("lib (>> 1:2.0-1)", False),
        ("lib (<= 1:2.0-1)", True),
        ("lib (< 1:2.0-1)", True),
        ("lib (<< 1:2.0-1)", False),
        ("other | lib", True),
        ("virtual", True),
        ("virtual (>= 1)", False),
        ("old (>= 1.2)", True),
        ("old (= 1.2)", False),
    ],
)
def test_what_an_installed_package_meets(relation: str, met: bool) -> None:
    stanza = {"Package": "lib", "Version": "1:2.0-1", "Provides": "virtual, old (= 1.5)"}
    (wanted,) = depends_of({"Depends": relation})
    assert bool(Offers([offer_of(stanza)]).meeting(wanted)) == met
    # What a lock keeps of it meets the same.
    base = needed_of([stanza], [wanted])
    assert bool(base) == met
    assert bool(Offers(base_offers(base)).meeting(wanted)) == met
    assert bool(Offers(map(offer_of, installed(base_status(base, "amd64")))).meeting(wanted)) == met


def test_names_as_apt_is_asked() -> None:
    assert [asked_for(text).atoms[0] for text in ("app", "app:arm64", "app=1:2-3")] == [
        *(parsed.atoms[0] for parsed in parse_relations("app, app, app (= 1:2-3)"))
    ]


def test_only_what_is_configured_counts_as_installed() -> None:
    states = ["install ok installed", "hold ok installed", "deinstall ok config-files", "install ok half-configured"]
    text = "\n".join(f"Package: p{at}\nStatus: {state}\nVersion: 1\n" for at, state in enumerate(states))
    assert [stanza["Package"] for stanza in installed(f"{text}\nPackage: broken\n")] == ["p0", "p1"]
