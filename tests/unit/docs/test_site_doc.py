"""docs/site.md: its examples are sites, its tables are the code's, and it leaves no key out."""

import re

import pytest

from bundler.errors import InvalidDocument
from bundler.model.site import ROLES, Site
from bundler.model.site_parser import parse_site
from bundler.model.site_schema import site_schema
from tests.lab import ROOT

TEXT = (ROOT / "docs" / "site.md").read_text()
HOST = site_schema({})["properties"]["hosts"]["items"]["properties"]


def table(first: str) -> list[list[str]]:
    """The cells of the table whose heading begins so, without backticks."""
    rows = TEXT.split(f"\n| {first} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def examples() -> list[Site]:
    found = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [parse_site(text, file=f"example {at}", components={}) for at, text in enumerate(found)]


def test_the_examples_are_sites() -> None:
    small, whole = examples()
    assert len(small.hosts) == 1
    assert [host.name for host in whole.hosts] == ["node1", "node2", "node3"]


def test_the_keys_of_a_host() -> None:
    assert [row[0] for row in table("Key")] == list(dict.fromkeys(["name", "address", "roles", *HOST]))
    for key, default, _ in table("Key"):
        if default not in ("required", "none"):
            assert default == str(HOST[key]["default"]).lower(), key


def test_the_roles() -> None:
    assert dict(table("Role")) == ROLES


def test_no_key_is_left_out() -> None:
    whole = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1]
    used = set(re.findall(r"\b([a-z_]+):(?= |\n)", whole))
    schema = site_schema({})["properties"]
    network = schema["networks"]["items"]["properties"]
    assert set(schema) | set(HOST) | set(network) | set(HOST["disks"]["items"]["properties"]) <= used


def test_the_error_is_the_parser_s() -> None:
    text = "\n" * 6 + "site: lab\ndomain: lab.example\nhosts:\n- {name: a, address: 10.0.0.1, roles: [site]}\n"
    text += "- {name: b, address: 10.0.0.2, roles: [],\n   user: admin}\n"
    with pytest.raises(InvalidDocument) as caught:
        parse_site(text, file="site.yaml", components={})
    assert caught.value.detail in TEXT
    assert caught.value.exit_code == 10
