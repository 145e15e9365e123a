"""The chart repository and charts in the registry view."""

import json
from pathlib import Path

import pytest

from bundler.errors import NameConflict
from bundler.views.carry import content_addressed
from bundler.views.clients import helm_pull, helm_repository
from tests.charts import make_chart
from tests.content import TestSite, make_image

V2 = "registry/docker/registry/v2"
CONFIG = b'{"name":"x","version":"0","apiVersion":"v2","appVersion":"9","keywords":["a"],"unknown":{"b":1.5}}'


@pytest.fixture
def site(tmp_path: Path) -> TestSite:
    return TestSite(tmp_path)


def test_the_index_names_every_chart(site: TestSite) -> None:
    web, api = make_chart("web", "1.0.0+b.1"), make_chart("api")
    first = site.chart(web, "web", "1.0.0+b.1", config=CONFIG, provenance=b"proof")
    second = site.chart(make_chart("web", "0.9.0"), "web", "0.9.0")
    third = site.chart(api, "api", reference="reg.example:5000/team/api:1.0.0")
    target = site.publish("one")
    index = json.loads((target / "charts/index.yaml").read_text())
    assert index["apiVersion"] == "v1"
    assert list(index["entries"]) == ["api", "web"]
    assert index["entries"]["web"][1] == {
        "apiVersion": "v2",
        "appVersion": "9",
        "digest": first.digest.hex,
        "keywords": ["a"],
        "name": "web",
        "urls": [f"files/{first.digest.hex}/web-1.0.0+b.1.tgz"],
        "version": "1.0.0+b.1",
    }
    for chart in (first, second, third):
        place = target / f"charts/files/{chart.digest.hex}/{chart.name}"
        assert place.samefile(site.store.path(chart.digest))
        assert content_addressed(place.relative_to(target).as_posix())
    assert (target / f"charts/files/{first.digest.hex}/{first.name}.prov").read_bytes() == b"proof"
    assert not (target / f"charts/files/{second.digest.hex}/{second.name}.prov").exists()
    assert not content_addressed("charts/index.yaml")


@pytest.mark.parametrize(
    "config", [b"[]", b"\xff", b'{"keywords": "a"}', b'{"name": {"a": 1}}', b'{"a": 1, "a": 2}', b""]
)
def test_a_config_that_helm_would_stumble_over_says_nothing(site: TestSite, config: bytes) -> None:
    site.chart(make_chart("web"), "web", config=config)
    index = json.loads((site.publish("one") / "charts/index.yaml").read_text())
    (entry,) = index["entries"]["web"]
    assert set(entry) == {"apiVersion", "name", "version", "urls", "digest"}


def test_a_site_without_charts_has_an_index(site: TestSite) -> None:
    assert json.loads((site.publish("one") / "charts/index.yaml").read_text()) == {"apiVersion": "v1", "entries": {}}


def test_charts_in_the_registry(site: TestSite) -> None:
    chart = site.chart(
        make_chart("web", "1.0.0+b.1"),
        "web",
        "1.0.0+b.1",
        provenance=b"proof",
        reference="reg.example:5000/team/web:1.0.0_b.1",
    )
    target = site.publish("one")
    for repository in ("bundle/chart/web", "reg.example_5000/team/web"):
        base = target / f"{V2}/repositories/{repository}"
        assert (base / "_manifests/tags/1.0.0_b.1/current/link").read_text() == str(chart.manifest)
        assert (base / f"_manifests/revisions/sha256/{chart.manifest.hex}/link").exists()
        layers = {path.parent.name for path in base.glob("_layers/sha256/*/link")}
        assert layers == {digest.hex for digest in (chart.digest, chart.config, *chart.provenance)}


def test_a_chart_and_an_image_under_one_name(site: TestSite) -> None:
    site.chart(make_chart("web"), "web", reference="reg.example/web:1.0.0")
    site.image(make_image({"./a": b"a"}), "reg.example/web:1.0.0")
    with pytest.raises(NameConflict) as caught:
        site.publish("one")
    assert caught.value.name == "reg.example/web:1.0.0"


def test_what_helm_is_told() -> None:
    assert helm_repository("https://s:1") == "helm repo add bundle https://s:1/charts"
    assert helm_pull("https://s:1", "web", "1_b") == "helm pull oci://s:1/bundle/chart/web --version 1+b"
    assert helm_pull("http://s:1", "web", "1").endswith("--version 1 --plain-http")
