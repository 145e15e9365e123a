"""The support bundle: what must be in it is, and no secret is, wherever somebody has put one."""

import base64
import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from bundler.cli.main import main
from bundler.errors import SecretsLocked, Usage
from bundler.hosts.base import Answer, Script
from bundler.model.secret import Secret
from bundler.secrets.ca import ensure_ca, ensure_leaf
from bundler.secrets.passwords import ensure_apt_key, ensure_htpasswd
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from bundler.signing.openpgp import create_apt_key, public_armored
from bundler.support import clock
from bundler.workflows.deployment import Request
from bundler.workflows.support import collect
from bundler.workflows.support_host import Section, sections_of, tell
from tests.simulated import UNIT, SimulatedSite, simulated_site

SUDO = "the sudo password"


@pytest.fixture
def site(installed_site: SimulatedSite) -> SimulatedSite:
    return installed_site


def request(**more: object) -> Request:
    return Request(site=Path("site.yaml"), **more)  # type: ignore[arg-type]


def files(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def layers(data: bytes) -> Iterator[bytes]:
    """The bytes, and those of everything compressed in them."""
    yield data
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        with contextlib.suppress(OSError, EOFError):
            yield from layers(gzip.GzipFile(fileobj=io.BytesIO(data[at:])).read())
        at = data.find(b"\x1f\x8b\x08", at + 3)


def plant(site: SimulatedSite) -> list[str]:
    """Put all kinds of secrets into the vault, and then everywhere. Gives what must not be seen, line by line."""
    vault = Vault.open(Path("site.secrets"), KeyFile(path=Path("site.secrets.key")))
    now = clock.now()
    ensure_ca(vault, "lab", now)
    ensure_leaf(vault, "web", ["a.example"], [], now)
    ensure_apt_key(vault, create_apt_key, public_armored)
    ensure_htpasswd(vault, "line", "builder", Secret("a builder's password"))
    vault.put("odd", Secret('quo"ted/and+more %'))
    vault.save()
    texts = [secret.reveal() for name in vault.names() if (secret := vault.get(name))]
    texts = [text.rpartition("-----END CERTIFICATE-----")[2] for text in texts]
    texts += [Path("site.secrets.key").read_text(), SUDO]
    lines = [line for text in texts for line in text.splitlines() if len(line) > 8 and not line.startswith("-----")]
    everywhere: list[str] = []
    for text in [*texts, *lines]:
        coded = base64.b64encode(f"user:{text}".encode()).decode()
        everywhere += [text, f"url https://x/?q={quote(text)}", f"Authorization: Basic {coded}", f"plain {coded}"]
        everywhere += [json.dumps({"x": text}), f"--password={text}", f"hex {text.encode().hex()}"]
    everything = "\n".join(everywhere)
    for host in site.hosts.values():
        (host.root / "journal").write_text(everything)
        (host.root / "packages").write_text(f"hello ii  1:2.10-3\n{everything}")
        host.path("/var/log/dpkg.log").write_text(everything)
        host.path("/etc/plain.conf").write_text(everything)
        host.program("ps", f"cat <<'END_OF_PS'\n{everything}\nEND_OF_PS")
    with Path("site.state/journal.jsonl").open("a") as journal:
        journal.writelines(json.dumps({"event": "end", "output": line}) + "\n" for line in everywhere)
    with Path("site.yaml").open("a") as declared:
        declared.writelines(f"# {line}\n" for line in lines)
    return [form for line in lines for form in (line, line.encode().hex())] + [
        base64.b64encode(bytes(shift) + line.encode()).decode()[4:-4] for line in lines for shift in range(3)
    ]


def test_no_secret_is_in_it(site: SimulatedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = plant(site)
    connect = site.connect

    def with_sudo(*arguments: object, **named: object) -> object:
        named["password"]("n1")  # type: ignore[operator]
        return connect(*arguments, **named)  # type: ignore[arg-type]

    for user in ("deployment", "support"):
        monkeypatch.setattr(f"bundler.workflows.{user}.connect", with_sudo)
    done = collect(request(password=lambda _: Secret(SUDO)), Path("out.tar.gz"))
    whole = list(layers(Path("out.tar.gz").read_bytes()))
    assert len(whole) == 2
    assert b"hosts/n1/processes.txt" in whole[1]
    for data in whole:
        assert not [text for text in hidden if text.encode() in data]
    assert done.removed > 100
    assert done.missing == {}
    for name in ("processes.txt", "dpkg.txt", f"journal/{UNIT}.txt", "packages.txt"):
        assert files(Path("out.tar.gz"))[f"support/hosts/n2/{name}"].count(b"(secret)") > 100


def test_what_is_in_it(site: SimulatedSite) -> None:
    site.host("n1").unit(UNIT).unlink()
    site.host("n2").down = True
    done = collect(request(), Path("out.tar.gz"), since="-2h")
    found = {name.removeprefix("support/"): data for name, data in files(Path("out.tar.gz")).items()}
    assert list(done.files) == list(found)
    assert Path("out.tar.gz").stat().st_mode & 0o777 == 0o600
    about = json.loads(found["about.json"])
    assert (about["release"], about["site"], about["hosts"]) == ("tiny 1", "lab", 3)
    assert about["statement"].startswith("sha256:")
    assert found["site.yaml"] == Path("site.yaml").read_bytes()
    assert found["journal.jsonl"] == Path("site.state/journal.jsonl").read_bytes()
    assert json.loads(found["status.json"])["healthy"] is False
    assert [action["kind"] for action in json.loads(found["plan.json"])["actions"]] == ["start"]
    assert json.loads(found["findings.json"])["health"][0]["found"] == f"{UNIT} is inactive"
    assert json.loads(found["missing.json"]) == done.missing
    assert done.missing == {"hosts/n2": "cannot reach n2: it does not answer on port 22"}
    assert b"See that it is up." in found["hosts/n2.missing.txt"]
    assert f"--since=-2h -u {UNIT}" in next(text for text in site.host("n1").asked if UNIT in text and "since" in text)
    assert found["hosts/n1/packages.txt"] == b"hello ii  1:2.10-3\n"
    listed = found["hosts/n1/secret-files.txt"].decode()
    assert "600 " in listed
    assert str(site.host("n1").path("/etc/sim/password")) in listed
    assert site.host("n1").path("/etc/sim/password").read_text() not in listed


def test_the_same_names_in_the_same_order(site: SimulatedSite) -> None:
    collect(request(), Path("one.tar.gz"))
    collect(request(jobs=1), Path("two.tar.gz"))
    assert list(files(Path("one.tar.gz"))) == list(files(Path("two.tar.gz")))
    assert all(not host.changed[-1].startswith("s()") for host in site.hosts.values())


def test_nothing_is_changed(site: SimulatedSite) -> None:
    before = {name: (host.tree(), len(host.changed)) for name, host in site.hosts.items()}
    kept = Path("site.secrets").read_bytes()
    collect(request(), Path("out.tar.gz"))
    assert {name: (host.tree(), len(host.changed)) for name, host in site.hosts.items()} == before
    assert Path("site.secrets").read_bytes() == kept


def test_a_site_that_was_never_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated_site(tmp_path, monkeypatch)
    done = collect(request(), Path("out.tar.gz"))
    assert "needs --trust" in done.missing["status.json"]
    assert "hosts/n3/uname.txt" in done.files
    assert f"hosts/n1/journal/{UNIT}.txt" in done.files


def test_without_knowing_the_secrets_there_is_none(site: SimulatedSite, capsys: pytest.CaptureFixture[str]) -> None:
    key = Path("site.secrets.key")
    other = Path("other.key")
    other.write_text(base64.urlsafe_b64encode(bytes(32)).decode() + "\n")
    other.chmod(0o600)
    with pytest.raises(SecretsLocked):
        collect(request(unlock=KeyFile(path=other)), Path("out.tar.gz"))
    key.unlink()
    assert main(["support-bundle", "-o", "out.tar.gz"]) == 63
    assert "cannot open site.secrets" in capsys.readouterr().err
    Path("site.secrets").unlink()
    with pytest.raises(Usage):
        collect(request(), Path("out.tar.gz"))
    assert not Path("out.tar.gz").exists()


def test_answers_are_bounded_and_cut_at_a_line(site: SimulatedSite) -> None:
    host = site.host("n1")
    long = Section(name="long", text="seq 1 200000; echo the end")
    one_line = Section(name="one line", text="head -c 2000000 /dev/zero | tr '\\0' x; echo; echo rest")
    found = tell(host, [long, one_line, Section(name="failing", text="echo said; exit 3")])
    assert len(found["long"]) < 600_000
    assert found["long"].startswith(b"(only the end of it)\n")
    assert found["long"].splitlines()[1].decode() == str(int(found["long"].splitlines()[1]))
    assert found["long"].endswith(b"the end\n")
    assert found["failing"] == b"said\n(it ended with code 3)\n"


class _Lying:
    name = "n1"

    def __init__(self, said: bytes) -> None:
        self.said = said

    def run(self, script: Script) -> Answer:
        return Answer(code=0, stdout=self.said, stderr=b"")


def test_a_host_that_lies_about_sizes_is_not_believed() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(200 << 20)))
    asked = [Section(name=name, text=":") for name in ("bomb", "broken", "silent")]
    found = tell(_Lying(b"bomb " + bomb + b"\nbroken !!!\n../../evil " + bomb + b"\n"), asked)
    assert list(found) == ["bomb", "broken"]
    assert len(found["bomb"]) < 1 << 20
    assert b"cannot be read" in found["broken"]


def test_every_unit_of_a_hosts_components_is_asked_for(site: SimulatedSite) -> None:
    from bundler.components import components
    from bundler.workflows.site import check_site

    host = check_site(Path("site.yaml")).host("n2")
    names = [section.name for section in sections_of(host, components(), since="", packages=(), secret_files=())]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("journal/")] == [f"journal/{UNIT}.txt"]
