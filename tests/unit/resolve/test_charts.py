"""Charts for a lock: which version is chosen, which pins stay, and what a source may not do."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from bundler.catalog.load import Declared
from bundler.catalog.manifests import Manifests
from bundler.errors import (
    BadSignature,
    BundleError,
    InvalidDocument,
    Malformed,
    NameConflict,
    NotFound,
    NotReadable,
    PinGone,
    ResolutionFailed,
    TooLarge,
    UnsafeRedirect,
    Unsupported,
    WrongBytes,
)
from bundler.model.component_parser import parse_component
from bundler.model.digest import Digest
from bundler.model.lock import LockedChart
from bundler.model.profile import parse_profile
from bundler.resolve.charts import chart_jobs
from bundler.resolve.resolve import resolve
from bundler.resolve.run import Found, Resolvers, Run
from bundler.sources import chart_registry
from bundler.sources.charts import Charts
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import KEEP_ALL, Update
from bundler.support.progress import Silent
from bundler.transport import Transport, Upstreams
from bundler.transport.registry_credentials import Credentials
from tests.bundles import bare_lock
from tests.charts import TinyCharts, chart_yaml, dependency, make_chart, write_chart
from tests.content import CHART, HELM, INDEX, MANIFEST, PROVENANCE, compact, describe
from tests.hostile_server import HostileServer, chunked, endless, head, ok, redirect, status

PROFILE = (
    "profile: p\nrelease: {line: p, number: 1}\nplatforms: [linux/amd64]\nbootstrap: {python: []}\ncomponents: []\n"
)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@dataclass(kw_only=True)
class World:
    """`repository` at https://charts.example/charts, a registry at oci://reg.example/team, folders in `manifests`."""

    server: HostileServer
    transport: Transport
    folder: Path
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        self.repository = TinyCharts(server=self.server)
        for name in ("charts", "files"):
            (self.folder / name).mkdir()

    def find(self, *requests: dict[str, Any], before: Found | None = None, update: Update = KEEP_ALL) -> Found:
        lock = bare_lock(charts=tuple(before.charts)) if before else None
        declared, resolvers = self.asked(*requests)
        run = Run(declared=declared, resolvers=resolvers, before=lock, update=update, progress=self.notes)
        for _, job in chart_jobs(run):
            job()
        return run.found

    def asked(self, *requests: dict[str, Any]) -> tuple[Declared, Resolvers]:
        upstreams = Upstreams.parse([f"{name}.example={self.server.url}" for name in ("charts", "reg", "other")])
        charts = [{"repository": "https://charts.example/charts"} | each for each in requests]
        component = parse_component(json.dumps({"component": "a", "charts": charts}), file="a")
        manifests = Manifests(folders=(self.folder,))
        profile = parse_profile(PROFILE, file="p")
        resolvers = Resolvers(
            transport=self.transport,
            registry=Registry(transport=self.transport, upstreams=upstreams, credentials=Credentials()),
            index=PackageIndex(self.transport, upstreams),
            upstreams=upstreams,
            scratch=self.folder,
        )
        self.charts = Charts(resolvers, manifests)
        return Declared(profile=profile, components=(component,), manifests=manifests), resolvers

    def one(self, **request: Any) -> LockedChart:
        (chart,) = self.find(request).charts
        return chart

    def store(self, tag: str, data: bytes, *more: tuple[bytes, str], config_type: str = HELM, **over: Any) -> Digest:
        """Put a chart into the registry as team/web."""
        version = tag.replace("_", "+")
        config = compact({"name": "web", "version": version})
        layers = [describe(each, kind) for each, kind in ((data, CHART), *more)]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(config, config_type),
            "layers": layers,
        }
        manifest = compact(document | over)
        for blob in (config, data, *(each for each, _ in more)):
            self.server.on(f"/v2/team/web/blobs/{Digest.of(blob)}", ok(blob))
        for name in (tag, Digest.of(manifest)):
            kind = str(over.get("mediaType", MANIFEST))
            self.server.on(f"/v2/team/web/manifests/{name}", ok(manifest, Content_Type=kind))
        return Digest.of(manifest)

    def tags(self, *tags: str) -> None:
        self.server.on("/v2/team/web/tags/list", ok(compact({"name": "team/web", "tags": list(tags)})))


OCI = {"chart": "web", "repository": "oci://reg.example/team"}


@pytest.fixture
def world(tmp_path: Path, transport: Transport) -> Iterator[World]:
    with HostileServer() as server:
        yield World(server=server, transport=transport, folder=tmp_path)


# --- Repositories. ---


def test_the_highest_version_in_the_range(world: World) -> None:
    for version in ("1.2.0", "1.10.0", "1.9.0", "2.0.0", "3.0.0-rc.1", "nonsense"):
        world.repository.add("web", version)
    for wanted, version in (("^1", "1.10.0"), ("1.9.0", "1.9.0"), ("*", "2.0.0"), (">2-0", "3.0.0-rc.1")):
        found = world.find({"chart": "web", "version": wanted})
        assert found.chart_versions == {"web": version}
        (chart,) = found.charts
        data = make_chart("web", version)
        assert (chart.digest, chart.size) == (Digest.of(data), len(data))
        assert chart.url == f"https://charts.example/charts/web-{version}.tgz"
        assert json.loads(chart.metadata)["description"] == "The chart web"
    assert len(world.server.seen_at("/charts/index.yaml")) == 4  # one in each resolution


def test_one_chart_for_two_components(world: World) -> None:
    world.repository.add("web", "1.2.0")
    found = world.find({"chart": "web"}, {"chart": "web", "release": "second", "version": "~1.2"})
    assert [chart.name for chart in found.charts] == ["web-1.2.0.tgz"]
    assert found.chart_versions == {"web": "1.2.0", "second": "1.2.0"}
    assert len(world.server.seen_at("/charts/index.yaml")) == 1
    world.server.on("/v2/team/web/tags/list", ok(b'{"tags": ["1.2.0"]}'))
    world.store("1.2.0", make_chart("web", "1.2.0"))
    with pytest.raises(NameConflict):
        world.find({"chart": "web"}, OCI | {"release": "second"})


def test_absolute_urls_and_several(world: World) -> None:
    data = world.repository.add(
        "web",
        urls=["gone.tgz", "https://other.example/files/w.tgz?token=1", "https://charts.example/charts/web-1.0.0.tgz"],
    )
    world.server.on("/files/w.tgz", ok(b"wrong"))
    assert world.one(chart="web").url == "https://charts.example/charts/web-1.0.0.tgz"
    world.server.on("/files/w.tgz", ok(data))
    assert world.one(chart="web").url == "https://other.example/files/w.tgz?token=1"


def test_an_index_without_digests(world: World) -> None:
    data = world.repository.add("web", digest=None)
    found = world.find({"chart": "web"})
    assert found.charts[0].digest == Digest.of(data)
    assert world.find({"chart": "web"}, before=found).charts == found.charts
    world.server.on("/charts/web-1.0.0.tgz", ok(make_chart("web", add={"more": b""})))
    assert world.find({"chart": "web"}, before=found).gone == [
        f"web-1.0.0.tgz of https://charts.example/charts (sha256:{hashlib.sha256(data).hexdigest()})"
    ]


def test_pins_stay(world: World) -> None:
    world.repository.add("web", "1.0.0")
    first = world.find({"chart": "web", "version": "^1"})
    world.repository.add("web", "1.1.0")
    archives = len(world.server.seen_at("/charts/web-1.0.0.tgz"))
    assert world.find({"chart": "web", "version": "^1"}, before=first).charts == first.charts
    assert len(world.server.seen_at("/charts/web-1.0.0.tgz")) == archives  # the index vouches for it
    assert "web 1.1.0 is there by now; --update=web takes it" in world.notes.lines
    for moved in (
        world.find({"chart": "web", "version": "^1"}, before=first, update=Update(names=frozenset(["web"]))),
        world.find({"chart": "web", "version": ">1.0"}, before=first),
    ):
        assert [chart.name for chart in moved.charts] == ["web-1.1.0.tgz"]


def test_a_pin_whose_url_moved(world: World) -> None:
    data = world.repository.add("web")
    first = world.find({"chart": "web"})
    world.repository.drop("web", "1.0.0")
    world.repository.add("web", data=data, urls=["https://other.example/w.tgz"])
    (chart,) = world.find({"chart": "web"}, before=first).charts
    assert (chart.url, chart.digest) == ("https://other.example/w.tgz", first.charts[0].digest)


@pytest.mark.parametrize("how", ["dropped", "replaced"])
def test_pins_that_are_gone(world: World, how: str) -> None:
    world.repository.add("web", "1.0.0")
    world.repository.add("web", "0.9.0")
    first = world.find({"chart": "web"})
    world.repository.drop("web", "1.0.0")
    if how == "replaced":
        world.repository.add("web", "1.0.0", data=make_chart("web", add={"more": b""}))
    found = world.find({"chart": "web"}, before=first)
    assert found.charts == []
    assert found.gone == [f"web-1.0.0.tgz of https://charts.example/charts ({first.charts[0].digest})"]


def test_a_lock_says_which_pins_are_gone(world: World) -> None:
    world.repository.add("web", "1.0.0")
    before = bare_lock(charts=tuple(world.find({"chart": "web"}).charts))
    world.repository.drop("web", "1.0.0")
    world.repository.add("web", "2.0.0")
    declared, resolvers = world.asked({"chart": "web"})
    with pytest.raises(PinGone) as caught:
        resolve(declared, resolvers, before=before, update=KEEP_ALL, progress=Silent(), refresh="bundle lock -p p")
    assert caught.value.gone == (f"web-1.0.0.tgz of https://charts.example/charts ({before.charts[0].digest})",)


HOSTILE: dict[str, tuple[dict[str, Any], type[BundleError], str]] = {
    "another digest": ({"digest": "0" * 64}, WrongBytes, "expected sha256:000"),
    "a broken digest": ({"digest": "md5:1"}, InvalidDocument, "expected 64 lower-case"),
    "no such file": ({"urls": ["absent.tgz"]}, NotFound, "/charts/absent.tgz"),
    "another chart": ({"data": make_chart("evil")}, InvalidDocument, "found evil 1.0.0, expected web 1.0.0"),
    "another version": ({"data": make_chart("web", "6.6.6")}, InvalidDocument, "found web 6.6.6, expected web 1.0.0"),
    "no archive": ({"data": b"<html>"}, InvalidDocument, "BadGzipFile"),
    "plain http": ({"urls": ["http://other.example/w.tgz"]}, UnsafeRedirect, "leaves https"),
    "a file": ({"urls": ["file:///etc/passwd"]}, UnsafeRedirect, "leaves https"),
    "credentials": ({"urls": ["https://user:secret@other.example/w.tgz"]}, Malformed, "without credentials"),
    "a space": ({"urls": ["https://other.example/a b"]}, Malformed, "http(s) URL"),
    "no URLs": ({"urls": []}, ResolutionFailed, "no URL for it"),
    "URLs of no use": ({"urls": "web-1.0.0.tgz"}, ResolutionFailed, "no usable version"),
    "only prereleases": ({"version": "1.0.0-rc.1", "data": b""}, ResolutionFailed, "1.0.0-rc.1"),
    "dependencies left out": (
        {"data": make_chart("web", dependencies=[dependency("common", "2.x", "https://a.example")])},
        ResolutionFailed,
        "its charts/ lacks: common 2.x (https://a.example)",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_repository_that_lies(world: World, name: str) -> None:
    entry, kind, text = HOSTILE[name]
    entry = dict(entry)
    version, data = entry.pop("version", "1.0.0"), entry.pop("data", None)
    world.repository.add("web", version, data=data, **entry)
    with pytest.raises(kind) as caught:
        world.one(chart="web")
    assert text in f"{caught.value}"
    assert "secret" not in f"{caught.value}"


INDEXES: dict[str, tuple[Any, type[BundleError]]] = {
    "none": (status(404), NotFound),
    "endless": (endless(head(200, {}), b"a: b\n" * 1000), TooLarge),
    "endless chunks": (chunked(b"a" * (65 << 20), step=1 << 20), TooLarge),
    "too large by its header": (ok(b"", Content_Length=1 << 40), TooLarge),
    "no YAML": (ok(b"<html>: ["), InvalidDocument),
    "another document": (ok(b"[1, 2]"), ResolutionFailed),
    "deep": (ok(b"entries: {web: " + b"[" * 100 + b"]" * 100 + b"}"), InvalidDocument),
    "a loop of redirects": (redirect("/charts/index.yaml"), UnsafeRedirect),
    "a redirect to a file": (redirect("file:///etc/passwd"), UnsafeRedirect),
    "a bomb": (
        ok(
            b"entries:\n  web:\n  - a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + b"".join(b"    a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9))
        ),
        InvalidDocument,
    ),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_is_none(world: World, name: str) -> None:
    answer, kind = INDEXES[name]
    world.server.on("/charts/index.yaml", answer)
    with pytest.raises(kind):
        world.one(chart="web")


def test_redirects_are_followed(world: World) -> None:
    data = world.repository.add("web")
    world.server.on("/charts/web-1.0.0.tgz", redirect("/elsewhere.tgz"))
    world.server.on("/elsewhere.tgz", ok(data))
    assert world.one(chart="web").digest == Digest.of(data)


# --- Provenance. ---

KEY = pysequoia.Tsk.generate(user_id="c", profile=pysequoia.Profile.RFC4880, cipher_suite=pysequoia.CipherSuite.Cv25519)
OTHER = pysequoia.Tsk.generate(
    user_id="o", profile=pysequoia.Profile.RFC4880, cipher_suite=pysequoia.CipherSuite.Cv25519
)


def provenance(data: bytes, *, file: str = "web-1.0.0.tgz", key: pysequoia.Tsk = KEY) -> bytes:
    """As Helm writes it: Chart.yaml, the end of a YAML document, the digests."""
    text = f"name: web\nversion: 1.0.0\n\n...\nfiles:\n  {file}: {Digest.of(data)}\n".encode()
    return bytes(pysequoia.sign(key.signer(), text.rstrip(b"\n"), mode=pysequoia.SignatureMode.CLEAR))


@pytest.fixture
def signed(world: World) -> World:
    """A world with a signed chart, and the key that signed it among others in keys.gpg."""
    data = world.repository.add("web")
    world.server.on("/charts/web-1.0.0.tgz.prov", ok(provenance(data)))
    certificates = b"".join(bytes(key.extract_certificate()) for key in (OTHER, KEY))
    (world.folder / "files/keys.gpg").write_bytes(certificates)
    (world.folder / "files/keys.asc").write_text(str(KEY.extract_certificate()))
    (world.folder / "files/other.gpg").write_bytes(bytes(OTHER.extract_certificate()))
    (world.folder / "files/broken.gpg").write_bytes(b"no key")
    return world


def test_provenance_is_kept(signed: World) -> None:
    data = provenance(make_chart("web"))
    plain = signed.find({"chart": "web"})
    found = plain.charts[0].provenance
    assert found is not None
    assert (found.media_type, found.size) == (PROVENANCE, len(data))
    for ring in ("keys.gpg", "keys.asc"):
        assert signed.find({"chart": "web", "keyring": f"file:{ring}"}, before=plain).charts[0].provenance is not None


@pytest.mark.parametrize(
    "answer", [status(404), status(403), status(410), ok(b"<html>"), ok(b"-----BEGIN PGP SIGNED MESSAGE-----\n\n")]
)
def test_no_provenance(world: World, answer: Any) -> None:
    world.repository.add("web")
    world.server.on("/charts/web-1.0.0.tgz.prov", answer)
    assert world.one(chart="web").provenance is None
    (world.folder / "files/keys.gpg").write_bytes(bytes(KEY.extract_certificate()))
    with pytest.raises(Malformed, match=r"no provenance file of web-1\.0\.0\.tgz"):
        world.one(chart="web", keyring="file:keys.gpg")


def test_provenance_of_other_bytes(signed: World) -> None:
    for wrong in (provenance(b"other"), provenance(make_chart("web"), file="other-1.0.0.tgz")):
        signed.server.on("/charts/web-1.0.0.tgz.prov", ok(wrong))
        for more in ({}, {"keyring": "file:keys.gpg"}):
            with pytest.raises(WrongBytes, match=r"wrong bytes for web-1\.0\.0\.tgz\.prov"):
                signed.one(chart="web", **more)


def test_a_new_signature_moves_no_pin(signed: World) -> None:
    request = {"chart": "web", "keyring": "file:keys.gpg"}
    first = signed.find(request)
    signed.server.on("/charts/web-1.0.0.tgz.prov", ok(provenance(make_chart("web"), key=OTHER)))
    assert len(signed.find(request, before=first).gone) == 1
    assert signed.find(request).charts != first.charts


def test_provenance_that_nobody_signed(signed: World) -> None:
    good = provenance(make_chart("web"))
    unsigned = provenance(b"other").replace(
        str(Digest.of(b"other")).encode(), str(Digest.of(make_chart("web"))).encode()
    )
    outside = f"files:\n  web-1.0.0.tgz: {Digest.of(make_chart('web'))}\n".encode()
    for data in (unsigned, provenance(make_chart("web"), key=OTHER).replace(b"name: web", b"name: wEb")):
        signed.server.on("/charts/web-1.0.0.tgz.prov", ok(data))
        with pytest.raises(BadSignature):
            signed.one(chart="web", keyring="file:keys.gpg")
    signed.server.on("/charts/web-1.0.0.tgz.prov", ok(good))
    with pytest.raises(BadSignature):
        signed.one(chart="web", keyring="file:other.gpg")
    with pytest.raises(NotReadable):
        signed.one(chart="web", keyring="file:broken.gpg")
    signed.server.on("/charts/web-1.0.0.tgz.prov", ok(provenance(b"other") + b"\n...\n" + outside))
    with pytest.raises(WrongBytes):
        signed.one(chart="web")


# --- Registries. ---


def test_a_chart_from_a_registry(world: World) -> None:
    data = make_chart("web", "1.2.0+b.1")
    manifest = world.store("1.2.0_b.1", data, (provenance(data, file="web-1.2.0+b.1.tgz"), PROVENANCE))
    world.tags("1.2.0_b.1", "1.1.0", "2.0.0-rc.1", "latest", "sha256-0.sig")
    chart = world.one(**OCI)
    assert (chart.version, chart.digest, chart.url) == ("1.2.0+b.1", Digest.of(data), "")
    kept = [each for each in (chart.manifest, chart.config, chart.provenance) if each]
    assert [each.media_type for each in kept] == [MANIFEST, HELM, PROVENANCE]
    assert kept[0].digest == manifest


def test_a_signed_chart_from_a_registry(world: World) -> None:
    data = make_chart("web")
    (world.folder / "files/keys.gpg").write_bytes(bytes(KEY.extract_certificate()))
    request = OCI | {"version": "1.0.0", "keyring": "file:keys.gpg"}
    world.store("1.0.0", data, (provenance(data), PROVENANCE))
    first = world.find(request)
    assert world.find(request, before=first).charts == first.charts
    world.store("1.0.0", make_chart("web", add={"more": b""}))  # the tag moves, the pin does not
    assert world.find(request, before=first).charts == first.charts
    world.store("1.0.0", data, (provenance(data, key=OTHER), PROVENANCE))
    with pytest.raises(BadSignature):
        world.find(request)
    world.store("1.0.0", data, (b"nothing signed", PROVENANCE))
    with pytest.raises(WrongBytes):
        world.find(request)
    world.store("1.0.0", data)
    with pytest.raises(Malformed):
        world.find(request)


def test_tags_come_in_pages(world: World) -> None:
    world.store("1.7.0", make_chart("web", "1.7.0"))
    path = "/v2/team/web/tags/list"
    pages = (["1.6.0", "1.5.0"], ["1.7.0"], None)
    answers = [
        ok(compact({"tags": tags}), Link=f'<{path}?n=2&last={at}>; rel="next"') if tags else ok(compact({"tags": tags}))
        for at, tags in enumerate(pages)
    ]
    world.server.on(path, *answers)
    assert world.one(**OCI).version == "1.7.0"
    assert [seen.query for seen in world.server.seen_at(path)] == ["n=1000", "n=2&last=0", "n=2&last=1"]


def test_a_version_is_asked_for_as_it_is(world: World) -> None:
    world.store("1.7.0", make_chart("web", "1.7.0"))
    assert world.one(**OCI, version="1.7.0").version == "1.7.0"
    assert world.server.seen_at("/v2/team/web/tags/list") == []


def test_pins_of_a_registry(world: World) -> None:
    manifest = world.store("1.7.0", make_chart("web", "1.7.0"))
    world.tags("1.7.0")
    first = world.find(OCI)
    world.store("1.8.0", make_chart("web", "1.8.0"))
    world.tags("1.7.0", "1.8.0")
    assert world.find(OCI, before=first).charts == first.charts
    assert "web 1.8.0 is there by now; --update=web takes it" in world.notes.lines
    assert world.find(OCI, before=first, update=Update(everything=True)).charts[0].version == "1.8.0"
    world.server.on(f"/v2/team/web/manifests/{manifest}", status(404))
    found = world.find(OCI, before=first)
    assert found.gone == [f"web-1.7.0.tgz of oci://reg.example/team ({first.charts[0].digest})"]


LAYER = (b"layer", "application/vnd.oci.image.layer.v1.tar")
STORED: dict[str, tuple[dict[str, Any], type[BundleError], str]] = {
    "an image": ({"config_type": "application/vnd.oci.image.config.v1+json"}, Unsupported, "It consists of"),
    "something else with it": ({"more": [LAYER]}, Unsupported, "It consists of"),
    "two archives": ({"more": [(b"x", CHART)]}, Unsupported, "It consists of"),
    "two provenance files": ({"more": [(b"x", PROVENANCE), (b"y", PROVENANCE)]}, Unsupported, "It consists of"),
    "no layers": ({"layers": []}, Unsupported, "It consists of"),
    "an index": ({"mediaType": INDEX, "manifests": []}, BundleError, ""),
    "no descriptors": ({"layers": [{"size": 1}]}, InvalidDocument, "reg.example/team/web:1.0.0"),
    "large": ({"layers": [{**describe(b"", CHART), "size": 101 << 20}]}, InvalidDocument, "too large"),
    "another chart": ({"data": make_chart("evil")}, InvalidDocument, "found evil 1.0.0"),
    "another version": ({"data": make_chart("web", "2.0.0")}, InvalidDocument, "found web 2.0.0"),
    "wrong size": ({"layers": [{**describe(make_chart("web"), CHART), "size": 10}]}, WrongBytes, ""),
}


@pytest.mark.parametrize("name", STORED)
def test_a_registry_that_has_no_such_chart(world: World, name: str) -> None:
    given, kind, text = STORED[name]
    given = dict(given)
    more, data = given.pop("more", []), given.pop("data", make_chart("web"))
    world.store("1.0.0", data, *more, **given)
    with pytest.raises(kind) as caught:
        world.one(**OCI, version="1.0.0")
    assert text in f"{caught.value}"


def test_a_blob_of_other_bytes(world: World) -> None:
    data = make_chart("web")
    world.store("1.0.0", data)
    world.server.on(f"/v2/team/web/blobs/{Digest.of(data)}", ok(data[:-1] + b"x"))
    with pytest.raises(WrongBytes):
        world.one(**OCI, version="1.0.0")


@pytest.mark.parametrize("body", [b"[]x", b'{"tags": "a"}', b'{"tags": [1]}', b"[1]"])
def test_tags_that_are_none(world: World, body: bytes) -> None:
    world.server.on("/v2/team/web/tags/list", ok(body))
    with pytest.raises((InvalidDocument, ResolutionFailed)):
        world.one(**OCI)


def test_endless_tags(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_registry, "_PAGES", 5)
    path = "/v2/team/web/tags/list"
    links = [ok(b'{"tags": ["1.0.0"]}', Link=f'<{path}?last={at}>; rel="next"') for at in range(9)]
    world.server.on(path, *links)
    with pytest.raises(InvalidDocument, match="5 pages of tags"):
        world.one(**OCI)
    world.server.on(path, ok(b'{"tags": ["1.0.0"]}', Link='<http://elsewhere.example/v2/x/tags/list?n=1>; rel="next"'))
    world.store("1.0.0", make_chart("web"))
    assert world.one(**OCI).version == "1.0.0"


# --- Folders. ---


def test_a_folder_is_packed_with_what_it_depends_on(world: World) -> None:
    common = world.repository.add("common", "2.1.0")
    world.store("1.5.0", make_chart("web", "1.5.0"))
    world.tags("1.5.0")
    needs = [
        dependency("common", "2.x", "https://charts.example/charts"),
        dependency("web", "^1", "oci://reg.example/team"),
    ]
    folder = write_chart(world.folder / "charts", "own", "0.1.0-dev", dependencies=needs)
    request = {"chart": "own", "repository": "file:own"}
    first = world.find(request)
    (chart,) = first.charts
    assert {pin.name: pin.url for pin in chart.dependencies} == {
        "common": "https://charts.example/charts/common-2.1.0.tgz",
        "web": "oci://reg.example/team/web:1.5.0",
    }
    data = world.charts.packed(chart)
    assert (Digest.of(data), len(data)) == (chart.digest, chart.size)
    assert common in data  # as it is
    world.repository.add("common", "2.2.0")
    assert world.find(request, before=first).charts == [chart]
    moved = world.find(request, before=first, update=Update(names=frozenset(["common"])))
    assert [pin.version for pin in moved.charts[0].dependencies] == ["2.2.0", "1.5.0"]
    (folder / "values.yaml").write_text("changed: true\n")
    changed = world.find(request, before=first).charts[0]
    assert (changed.digest != chart.digest, changed.dependencies) == (True, chart.dependencies)


def test_a_dependency_that_is_gone(world: World) -> None:
    world.repository.add("common")
    needs = [dependency("common", "1.x", "https://charts.example/charts")]
    write_chart(world.folder / "charts", "own", dependencies=needs)
    request = {"chart": "own", "repository": "file:own"}
    first = world.find(request)
    world.server.on("/charts/common-1.0.0.tgz", status(404))
    (gone,) = world.find(request, before=first).gone
    assert gone.startswith("common-1.0.0.tgz at https://charts.example/charts/common-1.0.0.tgz")


def test_two_ranges_for_one_dependency(world: World) -> None:
    """What is packed follows from the pins alone: the same in `create`, which knows nothing of the order of asking."""
    for version in ("1.0.0", "1.1.0"):
        world.repository.add("common", version)
    place = "https://charts.example/charts"
    needs = [dependency("common", "<=1.0", place), dependency("near", "", "file://../near")]
    write_chart(world.folder / "charts", "own", dependencies=needs)
    write_chart(world.folder / "charts", "near", dependencies=[dependency("common", ">1.0", place)])
    chart = world.one(chart="own", repository="file:own")
    assert [pin.version for pin in chart.dependencies] == ["1.0.0", "1.1.0"]
    assert Digest.of(world.charts.packed(chart)) == chart.digest


@pytest.mark.parametrize("wanted", ["2.0.0", ">1"])
def test_a_folder_of_another_version(world: World, wanted: str) -> None:
    write_chart(world.folder / "charts", "own")
    with pytest.raises(ResolutionFailed, match=r"holds version 1\.0\.0"):
        world.one(chart="own", repository="file:own", version=wanted)


def test_a_folder_of_another_chart(world: World) -> None:
    write_chart(world.folder / "charts", "own", add={"Chart.yaml": chart_yaml("other")})
    with pytest.raises(InvalidDocument, match=r"found other 1\.0\.0, expected own 1\.0\.0"):
        world.one(chart="own", repository="file:own")
