"""docs/format.md against the code: its tables, and a reader that was written from the page alone."""

import hashlib
import json
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bundler.archive import contents, oci, tar
from bundler.archive.layout import Member, lay_out
from bundler.model import canonical, statement
from bundler.model.limits import LIMITS
from tests.bundles import ALICE, BOB, TinyBundle, tiny_bundle
from tests.charts import make_chart
from tests.content import Made
from tests.lab import ROOT, require_program

PAGE = (ROOT / "docs/format.md").read_text()
KEY_PREFIX = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of a raw Ed25519 key (RFC 8410)
GIB = 1 << 30


def section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(title: str) -> list[list[str]]:
    """The cells of a section's table, without backticks and without its two heading lines."""
    rows = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


# --- A reader by the page: standard library and openssl, nothing of ours. ---


def octal(value: int, digits: int) -> bytes:
    return format(value, f"0{digits}o").encode()


def block(name: bytes, prefix: bytes, size: int, kind: bytes) -> bytes:
    head = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + octal(size, 11) + b"\0" + octal(0, 11) + b"\0"
    tail = kind + bytes(100) + b"ustar\00000" + bytes(64) + b"0000000\0" * 2 + prefix.ljust(155, b"\0") + bytes(12)
    return head + octal(sum(head + tail) + 8 * 32, 6) + b"\0 " + tail


def record(key: str, value: str) -> bytes:
    lengths = (length for length in range(9999) if length == len(f"{length} {key}={value}\n"))
    return f"{next(lengths)} {key}={value}\n".encode()


def header(name: str, size: int, offset: int, *, aligned: bool) -> bytes:
    prefix, short, records = "", name, b""
    if len(name) > 100:
        cut = name[:156].rfind("/")
        prefix, short = name[:cut], name[cut + 1 :]
        if cut < 1 or not 0 < len(short) <= 100:
            prefix, short, records = "", name[-90:], record("path", name)
    records += record("size", str(size)) if size >= 8 * GIB else b""
    if aligned and (records or (offset + 512) % 4096):
        length = -(offset + 1024) % 4096 - len(records)
        while length < 12 or length in (100, 1000):
            length += 4096
        records += f"{length} comment=".encode() + b" " * (length - len(f"{length} comment=\n")) + b"\n"
    pax = block(b"pax/" + name[-90:].encode(), b"", len(records), b"x") + padded(records) if records else b""
    return pax + block(short.encode(), prefix.encode(), size if size < 8 * GIB else 0, b"0")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def openssl_verifies(raw: bytes, signature: bytes, data: bytes, folder: Path) -> bool:
    for name, content in {"key": KEY_PREFIX + raw, "sig": signature, "data": data}.items():
        (folder / name).write_bytes(content)
    command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in data -sigfile sig"
    return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0


def read_bundle(path: Path, trusted: set[bytes], threshold: int, folder: Path) -> dict[str, Any]:
    """The statement of a bundle, every byte of which holds; AssertionError else."""
    data = path.read_bytes()
    size = int(data[124:135], 8)
    assert data[:512] == header("bundle.json", size, 0, aligned=False)
    signed, at, given = data[512 : 512 + size], 512 + len(padded(bytes(size))), []
    while data[at : at + 100].rstrip(b"\0") != b"bootstrap.tar":
        keyid = data[at : at + 100].rstrip(b"\0").decode().removeprefix("bundle.json.").removesuffix(".sig")
        assert data[at : at + 512] == header(f"bundle.json.{keyid}.sig", 64, at, aligned=False)
        given.append((keyid, data[at + 512 : at + 576]))
        at += 1024
    beside = [
        (each.name[len(path.name) + 1 : -4], each.read_bytes()) for each in path.parent.glob(f"{path.name}.*.sig")
    ]
    ids = {raw: f"ed25519-{hashlib.sha256(raw).hexdigest()}" for raw in trusted}
    holding = {
        raw
        for raw in trusted
        for keyid, signature in given + beside
        if keyid == ids[raw] and openssl_verifies(raw, signature, signed, folder)
    }
    assert len(holding) >= threshold

    said = json.loads(signed)
    assert (said["type"], said["format"], said["requires"]) == ("bundle-statement", 1, [])
    assert json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n" == signed
    signers = [bytes.fromhex(key) for key in said["signers"]]
    keyids = [f"ed25519-{hashlib.sha256(raw).hexdigest()}" for raw in signers]
    assert [keyid for keyid, _ in given] == keyids
    first, *rest = [(entry["name"], entry["size"]) for entry in said["entries"]]
    members = [("bundle.json", size), *((f"bundle.json.{keyid}.sig", 64) for keyid in keyids), first]
    members += [*((f"bootstrap.tar.{keyid}.sig", 64) for keyid in keyids), *rest]
    bodies, at = {}, 0
    for name, length in members:
        head = header(name, length, at, aligned=name.startswith("blobs/") and length >= 65536)
        bodies[name] = data[at + len(head) : at + len(head) + length]
        whole = head + padded(bodies[name])
        assert data[at : at + len(whole)] == whole
        at += len(whole)
    assert data[at:] == bytes(1024)
    for entry in said["entries"]:
        assert entry["digest"] == "sha256:" + hashlib.sha256(bodies[entry["name"]]).hexdigest()
    for raw, keyid in zip(signers, keyids, strict=True):
        assert openssl_verifies(raw, bodies[f"bundle.json.{keyid}.sig"], signed, folder)
        assert openssl_verifies(raw, bodies[f"bootstrap.tar.{keyid}.sig"], bodies["bootstrap.tar"], folder)
    return {"statement": said, "bodies": bodies}


# --- The tests. ---


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    require_program("openssl")
    charts = [
        Made(name="web-1.0.0.tgz", data=make_chart("web"), description=b"provenance"),
        Made(name="api-1.0.0.tgz", data=make_chart("api")),
    ]
    made = tiny_bundle(tmp_path_factory.mktemp("bundle"), keys=(ALICE,), charts=charts)
    made.sign_beside(BOB)
    return made


@pytest.fixture(scope="module")
def read(bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trusted = {ALICE.public.raw, BOB.public.raw}
    return read_bundle(bundle.path, trusted, 2, tmp_path_factory.mktemp("reader"))


def test_a_reader_written_from_the_page_proves_a_bundle(read: dict[str, Any], bundle: TinyBundle) -> None:
    assert read["statement"] == json.loads(statement.write_statement(bundle.statement))


@pytest.mark.parametrize("place", ["start", "body", "end"])
def test_that_reader_refuses_a_changed_byte(bundle: TinyBundle, tmp_path: Path, place: str) -> None:
    last = bundle.layout.places[-1]
    at = {"start": last.start, "body": last.body, "end": bundle.layout.size - 1}[place]
    data = bytearray(bundle.path.read_bytes())
    data[at] ^= 1
    (tmp_path / "changed").write_bytes(data)
    with pytest.raises(AssertionError):
        read_bundle(tmp_path / "changed", {ALICE.public.raw}, 1, tmp_path)


@pytest.mark.parametrize("size", [0, 1, 65536, 8 * GIB - 1, 8 * GIB, 100 * GIB])
@pytest.mark.parametrize("name", ["a", "f/" * 60 + "x", "n" * 150, "d/" + "n" * 120, "d" * 154 + "/" + "n" * 100])
def test_headers_by_the_page_are_those_of_the_code(name: str, size: int) -> None:
    for offset in range(0, 8192, 512):
        for aligned in (False, True):
            expected = tar.header(name=name, size=size, aligned=aligned, offset=offset)
            assert header(name, size, offset, aligned=aligned) == expected
            assert not aligned or (offset + len(expected)) % 4096 == 0


def test_the_header_table_is_every_field_of_the_block() -> None:
    found, end = tar.header(name="a", size=8), 0
    for offset, length, field, fixed in table("The header block"):
        assert int(offset) == end, field
        end += int(length)
        text = fixed.replace("\\0", "\0").strip("`").encode()
        if fixed.split(",")[0] == "zeros":
            text = bytes(int(length))
        if len(text) == int(length):
            assert found[int(offset) : end] == text, field
    assert end == tar.BLOCK


def test_members_come_in_the_order_of_the_page(bundle: TinyBundle) -> None:
    pattern = "".join(
        f"(?:{re.escape(name).replace('<keyid>', 'ed25519-[0-9a-f]{64}').replace('<hex>', '[0-9a-f]{64}')} )"
        + ("*" if "patches" in name else "+" if "<" in name else "")
        for name, _ in table("Members")
    )
    assert re.fullmatch(pattern, "".join(f"{place.member.name} " for place in bundle.layout.places))


def test_only_blobs_are_aligned(bundle: TinyBundle) -> None:
    large = {place.member.name: place for place in bundle.layout.places if place.member.size >= 65536}
    assert any(name.startswith("blobs/") for name in large)
    for name, place in large.items():
        assert place.member.aligned == name.startswith("blobs/")


def test_statement_keys(read: dict[str, Any]) -> None:
    said = read["statement"]
    assert {row[0] for row in table("The statement")} == set(said)
    assert {row[0] for row in table("release")} == set(said["release"])
    for kind in ("entries", "images", "charts", "wheels", "debs", "files"):
        assert {row[0] for row in table(kind)} == set(said[kind][0])
    for name in ("type", "format", "kind"):
        meaning = next(row[2] for row in table("The statement") if row[0] == name)
        assert re.split(r"[`.]", meaning.strip("`"))[0] == str(said[name])


def test_fixed_members_are_as_the_page_says(read: dict[str, Any]) -> None:
    says = {row[0]: row[1] for row in table("Members")}
    assert says["oci-layout"] == f"{oci.LAYOUT.decode().strip()}` and a newline"
    assert tuple(name for name, _ in table("Members") if name in statement.FIXED_NAMES) == statement.FIXED_NAMES
    assert read["bodies"]["oci-layout"] == oci.LAYOUT


def test_media_types() -> None:
    says = dict(table("OCI documents"))
    assert says == {
        "index, nested index": oci.INDEX_TYPE,
        "artifact manifest": oci.MANIFEST_TYPE,
        "lock: artifactType": contents.LOCK_TYPE,
        "lock: config": oci.EMPTY_TYPE,
        "lock: layer": contents.LOCK_TYPE,
        "chart: config (Chart.yaml as JSON)": oci.CHART_CONFIG_TYPE,
        "chart: layer": oci.CHART_TYPE,
        "chart: provenance layer": oci.CHART_PROVENANCE_TYPE,
        "wheel: artifactType": contents.WHEEL_TYPE,
        "wheel: config (METADATA)": contents.WHEEL_METADATA_TYPE,
        "wheel: layer": contents.CONTENT_TYPE,
        "deb: artifactType": contents.DEB_TYPE,
        "deb: config (stanza)": contents.DEB_CONTROL_TYPE,
        "deb: layer": contents.DEB_CONTENT_TYPE,
        "file: artifactType": contents.FILE_TYPE,
        "file: config": oci.EMPTY_TYPE,
        "file: layer": contents.CONTENT_TYPE,
    }


def test_index_names_everything_as_the_page_says(read: dict[str, Any]) -> None:
    said, types = read["statement"], dict(table("OCI documents"))

    def blob(digest: str) -> Any:
        return json.loads(read["bodies"][f"blobs/sha256/{digest.removeprefix('sha256:')}"])

    index = json.loads(read["bodies"]["index.json"])
    assert index["annotations"] == {"vnd.bundle.platforms": ",".join(said["platforms"])}
    *images, last = index["manifests"]
    named = [(each["annotations"]["org.opencontainers.image.ref.name"], each["digest"]) for each in images]
    assert named == [(image["name"], image["root"]) for image in said["images"]]
    assert set(last) == {"mediaType", "digest", "size"}
    nested = blob(last["digest"])["manifests"]
    whole, nested = nested[0], nested[1:]
    lock = blob(whole["digest"])
    assert (whole["artifactType"], lock["layers"][0]["digest"]) == (types["lock: artifactType"], said["lock"])
    assert lock["layers"][0]["annotations"] == {"org.opencontainers.image.title": "images.lock"}
    for chart, entry in zip(said["charts"], nested, strict=False):
        manifest = blob(entry["digest"])
        assert (entry["digest"], entry["artifactType"]) == (chart["manifest"], manifest["config"]["mediaType"])
        assert set(manifest) == {"schemaVersion", "mediaType", "config", "layers"}
        assert manifest["config"]["digest"] == chart["config"]
        kept = [(layer["mediaType"], layer["digest"]) for layer in manifest["layers"]]
        provenance = [(types["chart: provenance layer"], digest) for digest in chart["provenance"]]
        assert kept == [(types["chart: layer"], chart["digest"]), *provenance]
    nested = nested[len(said["charts"]) :]
    artifacts = [(kind, each) for kind in ("wheel", "deb", "file") for each in said[f"{kind}s"]]
    assert [each["digest"] for each in nested] == [each["manifest"] for _, each in artifacts]
    for (kind, artifact), entry in zip(artifacts, nested, strict=True):
        manifest = blob(entry["digest"])
        config = next(value for key, value in types.items() if key.startswith(f"{kind}: config"))
        use = {f"vnd.bundle.{name}": artifact[name] for name in ("archive", "release") if kind == "deb"}
        assert manifest.pop("annotations", {}) == use
        assert set(manifest) == {"schemaVersion", "mediaType", "artifactType", "config", "layers"}
        assert entry["artifactType"] == manifest["artifactType"] == types[f"{kind}: artifactType"]
        assert (manifest["config"]["mediaType"], len(manifest["layers"])) == (config, 1)
        assert manifest["layers"][0]["mediaType"] == types[f"{kind}: layer"]
        assert manifest["layers"][0]["digest"] == artifact["digest"]
        assert manifest["layers"][0]["annotations"] == {"org.opencontainers.image.title": artifact["name"]}


def test_blobs_come_as_documents_then_the_rest_each_sorted(read: dict[str, Any]) -> None:
    names = [entry["name"] for entry in read["statement"]["entries"]][4:]
    falls = [at for at in range(1, len(names)) if names[at] < names[at - 1]]
    assert len(falls) == 1
    wheel = read["statement"]["wheels"][0]
    place = {name.removeprefix("blobs/"): at for at, name in enumerate(names)}
    assert place[wheel["metadata"].replace(":", "/")] < falls[0] <= place[wheel["digest"].replace(":", "/")]


def test_bootstrap_is_a_tar_by_the_same_rules(read: dict[str, Any], bundle: TinyBundle) -> None:
    data, at, names = read["bodies"]["bootstrap.tar"], 0, []
    while data[at : at + 512] != bytes(512):
        name, size = data[at : at + 100].rstrip(b"\0").decode(), int(data[at + 124 : at + 135], 8)
        assert data[at : at + 512] == header(name, size, at, aligned=False)
        names.append(name)
        at += 512 + len(padded(bytes(size)))
    assert data[at:] == bytes(1024)
    wheels = [name for name in names if name.startswith("bootstrap/wheels/")]
    assert names == sorted(set(names) - set(wheels)) + sorted(wheels)
    assert {"bootstrap/__main__.py", "bootstrap/pythons.json"} < set(names)


@pytest.mark.parametrize("text", ['"\\/\x7f', "\b\f\n\r\t\x01", "é€", "😀"])
def test_strings_are_escaped_as_the_page_says(text: str) -> None:
    short = dict(zip('"\\\b\f\n\r\t', ('\\"', "\\\\", "\\b", "\\f", "\\n", "\\r", "\\t"), strict=True))
    units = [text.encode("utf-16-be")[at : at + 2] for at in range(0, len(text.encode("utf-16-be")), 2)]
    marks = [int.from_bytes(unit, "big") for unit in units]
    escaped = "".join(short.get(chr(m)) or (chr(m) if 32 <= m <= 126 else f"\\u{m:04x}") for m in marks)
    assert canonical.dump({"b": 1, "a": [text]}) == f'{{"a":["{escaped}"],"b":1}}\n'.encode()


def test_limits() -> None:
    assert {row[0]: int(row[1]) for row in table("Limits")} == asdict(LIMITS)


def test_the_worked_example_of_alignment() -> None:
    place = lay_out([Member(name="a", size=512), Member(name="blobs/b", size=65536, shared=True)]).places[1]
    assert (place.start, place.body) == (1024, 4096)
    assert b"\n" in place.header
    assert place.header[512:].startswith(b"2048 comment=" + b" " * 2034 + b"\n")
    assert "2034 spaces" in section("Alignment")
