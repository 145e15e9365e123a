"""The schema of site.yaml says what its parser says, as far as a schema can."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bundler.errors import InvalidDocument
from bundler.model.document import Reader
from bundler.model.nodes import read_yaml
from bundler.model.site import ROLES
from bundler.model.site_parser import parse_site
from bundler.model.site_schema import site_schema
from tests.manifests import Broken, broken
from tests.sites import COMPONENTS, SCHEMAS, SITE, SMALL, TAKEN
from tests.unit.catalog.test_schema import as_editor

SCHEMA = site_schema(SCHEMAS)
VALIDATOR = Draft202012Validator(SCHEMA)
CASES = broken("sites", folder="site")

# What a schema cannot say: what two places say together, and what is inside a key or an address.
PARSER_ONLY = {
    *("a host name twice", "a host name three times", "a network name twice", "a disk twice"),
    *("an address twice", "an IPv6 address twice by two spellings", "a name and an address twice"),
    *("a loopback address among several hosts", "two local hosts"),
    *("a jump to an unknown host", "a jump in itself", "two hosts that jump through each other"),
    *("a circle of jumps, and a way into it", "a jump through the local host", "a jump with a port beyond the last"),
    *("a host key of another type than it says", "a host key that is cut", "a host key without its last field"),
    *("a host key that is cut in the middle of four", "a host key with a field too many", "a short host key"),
    "a host key that is a length without end",
    *("a subnet with host bits", "a subnet twice", "a subnet in another", "an IPv6 subnet in another"),
    *("a host outside of all networks", "a host at the address of its network", "a host at the broadcast address"),
    *("a VIP that a host has", "a VIP twice", "a VIP outside of all networks", "a VIP without networks"),
    *("a VIP at the broadcast address", "a VIP in a list of no networks"),
}


def judged(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(as_editor(read_yaml(Reader(file="x"), text)))]


def is_yaml(case: Broken) -> bool:
    try:
        Reader(file="x").yaml(case.text)
    except InvalidDocument:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_a_whole_site() -> None:
    assert judged(SITE) == []


@pytest.mark.parametrize("rest", TAKEN)
def test_taken(rest: str) -> None:
    assert judged(SMALL % f", {rest}") == []


@given(address=st.ip_addresses())
@example(address=ip_address("239.255.255.255"))
@example(address=ip_address("240.0.0.1"))
@example(address=ip_address("223.255.255.255"))
@example(address=ip_address("::"))
@example(address=ip_address("::1"))
@example(address=ip_address("ff00::"))
@example(address=ip_address("fe80::"))
@example(address=ip_address("::ffff:1.2.3.4"))
@example(address=ip_address("::1.2.3.4"))
def test_addresses(address: IPv4Address | IPv6Address) -> None:
    """Of all the spellings that addresses are printed in, the same ones are taken by both."""
    text = (SMALL % "").replace("10.0.0.1", f'"{address}"')
    try:
        parse_site(text, file="x", components={})
    except InvalidDocument:
        assert judged(text)
    else:
        assert judged(text) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_sites(case: Broken) -> None:
    """What the parser refuses the schema refuses; what it does not is listed above, and nothing else is."""
    if not is_yaml(case):
        return  # no document, so that there is nothing to hold to a schema
    assert bool(judged(case.text)) == (case.title not in PARSER_ONLY)


def test_the_list_of_exceptions_is_of_cases() -> None:
    assert {case.title for case in CASES} >= PARSER_ONLY


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unknown: 1\n", ()),
        ("hosts: [{unknown: 1}]\n", ("hosts", "items")),
        ("hosts: [{disks: [{unknown: 1}]}]\n", ("hosts", "items", "properties", "disks", "items")),
        ("networks: [{unknown: 1}]\n", ("networks", "items")),
        ("components: {unknown: 1}\n", ("components",)),
        ("components: {registry: {unknown: 1}}\n", ("components", "properties", "registry")),
    ],
)
def test_the_keys_are_the_parser_s(text: str, path: tuple[str, ...]) -> None:
    """The parser names all keys that it knows when it meets one that it does not."""
    with pytest.raises(InvalidDocument) as caught:
        parse_site(text, file="x", components=COMPONENTS)
    schema: Any = SCHEMA
    for name in path[:1]:
        schema = schema["properties"][name]
    for name in path[1:]:
        schema = schema[name]
    known = {problem.expected for problem in caught.value.problems if "the unknown key" in problem.found}
    assert known == {", ".join(sorted(schema["properties"]))}


def test_everything_has_a_description() -> None:
    """It is what an editor shows."""

    def bare(schema: dict[str, Any], path: str) -> list[str]:
        found = [] if schema.get("description") else [path]
        for name, child in schema.get("properties", {}).items():
            found += bare(child, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                found += bare(schema[key], f"{path}.{key}")
        return found

    assert bare(SCHEMA, "site") == []
    roles = SCHEMA["properties"]["hosts"]["items"]["properties"]["roles"]["items"]["oneOf"]
    assert {role["const"]: role["description"] for role in roles} == ROLES


def test_patterns_are_those_of_editors() -> None:
    """ECMA-262: no \\Z, no named group, no inline flag."""

    def patterns(value: Any) -> list[str]:
        if isinstance(value, list):
            return [text for each in value for text in patterns(each)]
        if not isinstance(value, dict):
            return []
        own = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
        return own + [text for each in value.values() for text in patterns(each)]

    found = patterns(SCHEMA)
    assert len(found) > 10
    assert not [text for text in found if any(mark in text for mark in ("\\Z", "\\A", "(?P", "(?i"))]
