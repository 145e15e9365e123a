"""The verdict on each use."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.closure.judge import Carried, Finding, Kind, Severity, judge
from bundler.closure.scan import scan, scan_chart_sources
from bundler.closure.use import Certainty, Found, Place, Use
from bundler.model.component import Silence
from bundler.model.digest import Digest
from bundler.model.reference import Reference
from tests.lab import ROOT as LAB
from tests.strategies import references

ROOT, CHILD, OTHER = Digest.of(b"root"), Digest.of(b"child"), Digest.of(b"other")
ERROR, WARNING, HINT = Severity.ERROR, Severity.WARNING, Severity.HINT
CARRIED = tuple(
    Carried(reference=Reference.parse(text), digests=frozenset((ROOT, CHILD)))
    for text in ("q.io/a:1", "nginx:latest", "q.io/worker:2.2")
)


def pods(*images: str, policy: str = "IfNotPresent") -> tuple[Use, ...]:
    containers = [{"name": "c", "image": image, "imagePullPolicy": policy} for image in images]
    return scan(json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}), source="s")


def mapped(**data: str) -> tuple[Use, ...]:
    return scan(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": data}), source="s")


def verdicts(findings: tuple[Finding, ...]) -> list[tuple[Kind, Severity, str]]:
    return [(each.kind, each.severity, each.image) for each in findings]


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        (pods("q.io/a:1"), []),
        (pods(f"q.io/a@{ROOT}", f"q.io/a:1@{CHILD}", f"q.io/a:9@{ROOT}"), []),
        (pods("q.io/b:1"), [(Kind.MISSING, ERROR, "q.io/b:1")]),
        (pods("q.io/a:2"), [(Kind.MISSING, ERROR, "q.io/a:2")]),
        (pods("q.io/a"), [(Kind.MISSING, ERROR, "q.io/a:latest")]),
        (pods("a:1"), [(Kind.MISSING, ERROR, "docker.io/library/a:1")]),
        (pods(f"q.io/a:1@{OTHER}"), [(Kind.OTHER_DIGEST, ERROR, f"q.io/a:1@{OTHER}")]),
        (pods(f"q.io/a@{OTHER}"), [(Kind.OTHER_DIGEST, ERROR, f"q.io/a@{OTHER}")]),
        (pods(f"q.io/a:2@{OTHER}"), [(Kind.MISSING, ERROR, f"q.io/a:2@{OTHER}")]),
        (pods(f"q.io/b@{ROOT}"), [(Kind.MISSING, ERROR, f"q.io/b@{ROOT}")]),
        (pods("nginx"), [(Kind.LATEST, WARNING, "docker.io/library/nginx:latest")]),
        (pods("q.io/a:1", policy="Always"), [(Kind.ALWAYS_PULL, WARNING, "q.io/a:1")]),
        (
            pods("nginx", policy="Always"),
            [
                (Kind.ALWAYS_PULL, WARNING, "docker.io/library/nginx:latest"),
                (Kind.LATEST, WARNING, "docker.io/library/nginx:latest"),
            ],
        ),
        (pods("Not One"), [(Kind.UNREADABLE, ERROR, "Not One")]),
        (pods("q.io/worker:$(V)"), [(Kind.COMPUTED, WARNING, "q.io/worker:$(V)")]),
        (pods("q.io/c:$(V)"), [(Kind.COMPUTED, ERROR, "q.io/c:$(V)")]),
        (pods("$(IMAGE)"), [(Kind.COMPUTED, ERROR, "$(IMAGE)")]),
        (mapped(x="[s]\nmy_image = {{ .Image }}"), [(Kind.COMPUTED, WARNING, "{{ .Image }}")]),
        # a guess is a warning, until its repository is known to be one of images
        (mapped(any="busybox:1.36"), [(Kind.MISSING, WARNING, "docker.io/library/busybox:1.36")]),
        (mapped(any="nginx:1.27"), [(Kind.MISSING, ERROR, "docker.io/library/nginx:1.27")]),
        (
            mapped(any="busybox:1.36", my_image="busybox:1.35"),
            [
                (Kind.MISSING, ERROR, "docker.io/library/busybox:1.35"),
                (Kind.MISSING, ERROR, "docker.io/library/busybox:1.36"),
            ],
        ),
        (
            scan_chart_sources("image: q.io/off:1", source="v", rendered=()),
            [(Kind.NOT_RENDERED, HINT, "q.io/off:1")],
        ),
        (scan_chart_sources("image: q.io/a:1", source="v", rendered=()), []),
    ],
)
def test_verdicts(uses: tuple[Use, ...], expected: Any) -> None:
    assert verdicts(judge(uses, CARRIED)) == expected


def test_the_page_explains_every_kind() -> None:
    page = (LAB / "docs/closure.md").read_text()
    assert [kind for kind in Kind if f"| `{kind}` |" not in page] == []


def test_one_finding_names_all_places_and_what_is_carried() -> None:
    (finding,) = judge((*pods("q.io/a:2", "q.io/a:2"), *mapped(image="q.io/a:2")), CARRIED)
    assert finding.where == (
        "s: ConfigMap: data.image",
        "s: Pod: spec.containers[0].image",
        "s: Pod: spec.containers[1].image",
    )
    assert "q.io/a:1" in finding.why
    (finding,) = judge(pods(f"q.io/a@{OTHER}"), CARRIED)
    assert str(ROOT) in finding.why


@pytest.mark.parametrize("image", ["busybox", "docker.io/library/busybox:latest", "library/busybox", "busybox:latest"])
def test_a_silence_covers_the_text_and_the_name(image: str) -> None:
    silence = Silence(image=image, reason="only a test")
    assert judge(pods("busybox"), (), silences=[silence]) == ()
    (unused,) = judge(pods("q.io/a:1"), CARRIED, silences=[silence])
    assert (unused.kind, unused.severity, unused.image) == (Kind.UNUSED_SILENCE, WARNING, image)
    assert "only a test" in unused.why


def test_a_silence_covers_a_computed_text() -> None:
    assert judge(pods("$(X)"), (), silences=[Silence(image="$(X)", reason="a file says which")]) == ()


@given(st.lists(references, max_size=6), st.lists(references, max_size=6))
def test_nothing_carried_is_missing_and_nothing_else_is_carried(wanted: list[Reference], held: list[Reference]) -> None:
    carried = [Carried(reference=each, digests=frozenset([each.digest or ROOT])) for each in held]
    place = Place(source="s")
    uses = [
        Use(text=str(each), reference=each, place=place, found=Found.POD, certainty=Certainty.CERTAIN)
        for each in [*wanted, *held]
    ]
    absent = {each.image for each in judge(uses, carried) if each.severity is ERROR}
    assert absent.isdisjoint(map(str, held))
    have = {(each.name, each.tag) for each in held} | {(each.name, each.digest or ROOT) for each in held}
    assert absent == {str(each) for each in wanted if (each.name, each.digest or each.tag) not in have}
