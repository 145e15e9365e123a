"""Which ways a chart is rendered, with a stand-in for helm that prints what it was told."""

import io
import tarfile
from pathlib import Path

import pytest

from bundler.closure.render import Release, read_chart, render
from bundler.errors import ChartNotRendered, NotReadable

RELEASE = Release(name="demo", namespace="shop", kube_version="1.36.0", api_versions=("known/v1",))


@pytest.fixture
def helm(tmp_path: Path) -> Path:
    """Prints its arguments and its environment's home; fails where its values say so."""
    path = tmp_path / "helm"
    path.write_text(
        '#!/bin/sh\nvalues=$(cat)\ncase "$values" in *fail*) echo "Error: $values" >&2; exit 1;; esac\n'
        'case "$values$*" in *without*b/v1*) ;; *without*) echo "Error: needs b/v1" >&2; exit 1;; esac\n'
        'echo "# $*"; echo "home: $HOME${HELM_PLUGINS}${https_proxy}"\n'
    )
    path.chmod(0o755)
    return path


def chart(tmp_path: Path, template: str, **values: str) -> Path:
    path = tmp_path / "c-1.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"c/templates/a.yaml": template, "c/values.yaml": "a: 1", **values}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def told(text: str) -> list[str]:
    return text.splitlines()[0].split()[1:]


def test_a_plain_chart_is_rendered_once(tmp_path: Path, helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_PLUGINS", "/plugins")
    monkeypatch.setenv("https_proxy", "http://proxy")
    packed = chart(tmp_path, "a: 1")
    ((way, text),) = render(packed, helm=helm, values="{}", release=RELEASE).texts
    assert way == "as it is"
    assert told(text) == [
        *("template", "demo", str(packed), "--namespace", "shop", "--kube-version", "1.36.0", "--include-crds"),
        *("--values", "-", "--api-versions", "known/v1"),
    ]
    home = text.splitlines()[1].removeprefix("home: ")
    assert not Path(home).exists()
    assert Path(home).name.startswith("bundle-helm.")


def test_what_a_template_distinguishes_is_rendered_apart(tmp_path: Path, helm: Path) -> None:
    template = """{{ if .Capabilities.APIVersions.Has "b/v1" }}
    {{ else if $.Capabilities.APIVersions.Has `a/v1/Kind` }}{{ end }}
    {{ .Capabilities.APIVersions.Has "known/v1" }}{{ if .Release.IsUpgrade }}{{ end }}{{ lookup "v1" "Secret" "" "x" }}
    {{ .Capabilities.APIVersions.Has (printf "%s/v1" .Values.g) }}"""
    done = render(chart(tmp_path, template), helm=helm, values="{}", release=RELEASE)
    assert [way for way, _ in done.texts] == [
        *("as it is", "with a/v1/Kind, b/v1", "with a/v1/Kind", "with b/v1", "as an upgrade"),
    ]
    assert "--is-upgrade" in told(done.texts[-1][1])
    assert [note.partition(":")[0] for note in done.notes] == [
        "a template looks objects up in the cluster",
        "a template asks for an API version that it computes",
    ]


@pytest.mark.parametrize(
    ("template", "asked"),
    [
        ('{{ if .Capabilities.APIVersions.Has "a.io/v1" }}', ("a.io/v1",)),
        ("{{ if (.Capabilities.APIVersions.Has `a.io/v1/Kind`) }}", ("a.io/v1/Kind",)),
        ('{{ $.Capabilities.APIVersions.Has ("a.io/v1beta1") }}', ("a.io/v1beta1",)),
        ('{{ if has "a.io/v1" $.Capabilities.APIVersions }}', ("a.io/v1",)),
        ('{{ .c.Capabilities.APIVersions.Has .v }}{{ include "has" (dict "v" "b.io/v1") }}', ("b.io/v1",)),
        ('{{ include "x" (dict "v" "b.io/v1") }}', ()),
    ],
)
def test_the_apis_that_templates_ask_for(tmp_path: Path, template: str, asked: tuple[str, ...]) -> None:
    assert read_chart(chart(tmp_path, template)).asked == asked


def test_one_way_may_fail_but_not_all(tmp_path: Path, helm: Path) -> None:
    packed = chart(tmp_path, '{{ .Capabilities.APIVersions.Has "b/v1" }}')
    done = render(packed, helm=helm, values="without: {}", release=RELEASE)
    assert [way for way, _ in done.texts] == ["with b/v1"]
    assert done.notes == ("not rendered as it is: Error: needs b/v1",)
    with pytest.raises(ChartNotRendered) as caught:
        render(packed, helm=helm, values="fail: {}", release=RELEASE, variant="small")
    error = caught.value
    assert (error.chart, error.variant, error.output) == ("c-1.tgz", "small", "Error: fail: {}")


def test_values_of_the_chart_and_its_subcharts(tmp_path: Path) -> None:
    text = read_chart(chart(tmp_path, "x", **{"c/charts/d/values.yaml": "b: 2"}))
    assert text.values == (("values.yaml", "a: 1"), ("charts/d/values.yaml", "b: 2"))


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08broken"])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.tgz").write_bytes(data)
    with pytest.raises(NotReadable):
        read_chart(tmp_path / "c.tgz")
