from pathlib import Path

import pytest

from bundler.sources.apt_sources import AptMachine, AptSource
from bundler.sources.control import control, stanzas
from tests.lab import require_program

DEB822 = """\
# comment
Types: deb deb-src
URIs: http://x.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /k.gpg

Types: deb
URIs: http://x.example/debian-security
Suites: bookworm-security
Components: main
"""
SUITES = {
    "one line": (
        "a.list",
        "deb http://x.example/debian/ bookworm main contrib # all\n#deb http://y.example/ bookworm main\n",
    ),
    "options": ("a.list", "deb [arch=amd64 signed-by=/k.gpg] http://x.example/debian bookworm main\n"),
    "key list": ("a.list", "deb [signed-by=/k.gpg,/l.gpg] http://x.example/debian bookworm main\n"),
    "source": ("a.list", "deb-src http://x.example/debian bookworm main\n"),
    "flat": ("a.list", "deb http://x.example/debian ./\n"),
    "other scheme": ("a.list", "deb cdrom:[disc]/ bookworm main\ndeb mirror+file:/m bookworm main\n"),
    "other suite": (
        "a.list",
        "deb http://x.example/debian bookworm-backports main\ndeb http://x.example/debian sid main\n",
    ),
    "deb822": ("a.sources", DEB822),
    "deb822 off": (
        "a.sources",
        "Types: deb\nEnabled: no\nURIs: http://x.example/debian\nSuites: bookworm\nComponents: main\n",
    ),
    "not read": ("a.disabled", "deb http://x.example/debian bookworm main\n"),
}
X, S = "http://x.example/debian", "http://x.example/debian-security"
EXPECTED: dict[str, list[tuple[str, str, str, tuple[str, ...], str]]] = {
    "one line": [("debian", X, "bookworm", ("main", "contrib"), "")],
    "options": [("debian", X, "bookworm", ("main",), "/k.gpg")],
    "key list": [("debian", X, "bookworm", ("main",), "/k.gpg /l.gpg")],
    "deb822": [
        ("debian", X, "bookworm", ("main",), "/k.gpg"),
        ("debian", X, "bookworm-updates", ("main",), "/k.gpg"),
        ("debian-security", S, "bookworm-security", ("main",), ""),
    ],
}


@pytest.mark.parametrize("name", SUITES)
def test_sources_of_a_release(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_program("apt-config")
    file, text = SUITES[name]
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / file).write_text(text)
    (tmp_path / "apt.conf").write_text(f'Dir::Etc "{tmp_path}";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    found = AptMachine.read().configured("debian", "bookworm")
    assert [(each.archive, each.base, each.suite, each.components, each.signed_by) for each in found] == EXPECTED.get(
        name, []
    )


def test_only_the_way_to_the_network_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_program("apt-config")
    settings = {
        "Acquire::http::Proxy": "http://proxy.example:3128",
        "Acquire::https::Proxy::x.example": "DIRECT",
        "Acquire::https::CaInfo": "/ca.pem",
        "Acquire::Check-Valid-Until": "false",
    }
    others = {
        "Acquire::https::Verify-Peer": "false",
        "Acquire::AllowInsecureRepositories": "true",
        "APT::Get::AllowUnauthenticated": "true",
        "DPkg::Post-Invoke::": "true",
    }
    (tmp_path / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in (settings | others).items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.chdir(tmp_path)
    found = dict(AptMachine.read().network)
    assert {name: value for name, value in found.items() if name in settings} == settings
    assert not set(found) & set(others)


def test_a_key_in_the_source_itself_comes_back_as_it_was() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n -----END PGP PUBLIC KEY BLOCK-----"
    text = f"Types: deb\nURIs: {X}/\nSuites: bookworm\nComponents: main\nArchitectures: amd64\nSigned-By:{key}\n"
    (stanza,) = stanzas(text.splitlines())
    source = AptSource(archive="debian", base=X, suite="bookworm", components=("main",), signed_by=stanza["Signed-By"])
    assert list(stanzas(source.stanza("amd64").splitlines())) == [stanza]


def test_stanzas_are_parted_by_empty_lines_and_keep_further_lines() -> None:
    text = "\n\nA: 1\nB:two\n  more\n\t.\n\n  lost\nC: x: y\n"
    assert list(stanzas(text.splitlines(keepends=True))) == [{"A": "1", "B": "two\n  more\n\t."}, {"C": "x: y"}]


def test_control_keeps_known_fields_in_order_and_one_line_of_description() -> None:
    stanza = {
        "Depends": "a\n b",
        "Package": "p",
        "Version": "1",
        "SHA256": "x",
        "Description": "short\n long",
        "Tag": "t",
    }
    assert control(stanza) == "Package: p\nVersion: 1\nDepends: a\n b\nDescription: short"
