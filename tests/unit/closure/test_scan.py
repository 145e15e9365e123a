"""Where the scanner finds images, and what it leaves alone."""

import base64
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.closure import tree
from bundler.closure.scan import scan, scan_chart_sources
from bundler.closure.use import Certainty, Found, Use
from bundler.errors import InvalidDocument
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from tests.strategies import fewer, printable, references

D = str(Digest.of(b""))
CERTAIN, LIKELY, GUESS = Certainty.CERTAIN, Certainty.LIKELY, Certainty.GUESS


def resource(spec: Any, *, kind: str = "Thing", version: str = "example.com/v1") -> str:
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "n"}, "spec": spec})


def configured(**data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})


def container(**fields: Any) -> str:
    pod = {"containers": [{"name": "c", "image": "a/b:1", **fields}]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod})


def found(text: str, *, least: Certainty = GUESS) -> dict[str, Use]:
    """By canonical name, without the container's own image of `container`."""
    uses = {use.image: use for use in scan(text, source="s") if use.certainty >= least}
    uses.pop("docker.io/a/b:1", None)
    return uses


PLACES = [
    # fields of custom resources
    (resource({"image": "quay.io/x/y:1"}), "quay.io/x/y:1", Found.FIELD, LIKELY, "spec.image"),
    (resource({"image": "busybox"}), "docker.io/library/busybox:latest", Found.FIELD, LIKELY, "spec.image"),
    (resource({"image": "y", "tag": None}), "docker.io/library/y:latest", Found.FIELD, GUESS, "spec.image"),
    (resource({"enabled": False, "image": "q.io/y:1"}), "q.io/y:1", Found.FIELD, GUESS, "spec.image"),
    (resource({"enabled": True, "image": "q.io/y:1"}), "q.io/y:1", Found.FIELD, LIKELY, "spec.image"),
    (resource({"agentImage": "x/y"}), "docker.io/x/y:latest", Found.FIELD, LIKELY, "spec.agentImage"),
    (resource({"agentImage": "y"}), "docker.io/library/y:latest", Found.FIELD, GUESS, "spec.agentImage"),
    (resource({"initimage": "x/y:2"}), "docker.io/x/y:2", Found.FIELD, LIKELY, "spec.initimage"),
    (resource({"image": f"x/y@{D}"}), f"docker.io/x/y@{D}", Found.FIELD, LIKELY, "spec.image"),
    (resource({"image": "docker://q.io/y:1"}), "q.io/y:1", Found.FIELD, LIKELY, "spec.image"),
    (
        resource({"a": {"repository": "x/y", "tag": "1.10"}}),
        "docker.io/x/y:1.10",
        Found.FIELD,
        LIKELY,
        "spec.a.repository",
    ),
    (resource({"image": {"repository": "x/y"}}), "docker.io/x/y:latest", Found.FIELD, GUESS, "spec.image.repository"),
    (
        resource({"image": {"registry": "q.io", "repository": "y", "digest": D}}),
        *(f"q.io/y@{D}", Found.FIELD, LIKELY, "spec.image.repository"),
    ),
    (
        resource({"image": {"registry": "q.io", "name": "y", "tag": "2"}}),
        *("q.io/y:2", Found.FIELD, LIKELY, "spec.image.name"),
    ),
    (
        resource({"repository": "q.io/x", "image": "d", "version": "5"}),
        *("q.io/x/d:5", Found.FIELD, LIKELY, "spec.image"),
    ),
    (
        resource({"repository": "q.io/x", "image": "d", "version": D}),
        *(f"q.io/x/d@{D}", Found.FIELD, LIKELY, "spec.image"),
    ),
    (resource({"images": ["q.io/y:1"]}), "q.io/y:1", Found.FIELD, LIKELY, "spec.images[0]"),
    (resource({"images": {"op": "x/y:1"}}), "docker.io/x/y:1", Found.FIELD, LIKELY, "spec.images.op"),
    (
        resource({"pod": {"containers": [{"name": "c", "image": "y"}]}}),
        *("docker.io/library/y:latest", Found.POD, LIKELY, "spec.pod.containers[0].image"),
    ),
    (
        resource({"params": [{"name": "toolImage", "value": "y:1"}, {"name": "toolImage", "value": "y:2"}]}),
        *("docker.io/library/y:1", Found.FIELD, LIKELY, "spec.params.toolImage"),
    ),
    (
        resource({"containers": [{"name": "c", "image": {"repository": "x/y", "tag": "1"}}]}),
        *("docker.io/x/y:1", Found.FIELD, LIKELY, "spec.containers[0].image.repository"),
    ),
    (
        resource({"containers": [{"name": "c", "env": {"A_IMAGE": "x/y:1"}}]}),
        *("docker.io/x/y:1", Found.FIELD, LIKELY, "spec.containers[0].env.A_IMAGE"),
    ),
    # containers
    (container(args=["--pause-image=x/y:1"]), "docker.io/x/y:1", Found.ARGUMENT, LIKELY, "spec.containers[0].args[0]"),
    (
        container(args=["--image", "y"]),
        "docker.io/library/y:latest",
        Found.ARGUMENT,
        LIKELY,
        "spec.containers[0].args[1]",
    ),
    (container(args=["--any=q.io/x/y:1.2"]), "q.io/x/y:1.2", Found.ARGUMENT, LIKELY, "spec.containers[0].args[0]"),
    (
        container(args=["--a-image=x/y:$(V)"], env=[{"name": "V", "value": "3"}]),
        *("docker.io/x/y:3", Found.ARGUMENT, LIKELY, "spec.containers[0].args[0]"),
    ),
    (
        container(command=["sh", "-c", "set -e\nexec docker run -it y:2 sh"]),
        *("docker.io/library/y:2", Found.ARGUMENT, LIKELY, "spec.containers[0].command[2] line 2"),
    ),
    (
        container(
            env=[{"name": "RELATED_IMAGE_A", "value": "y:1"}, {"name": "RELATED_IMAGE_B", "value": "q.io/x/z:1"}]
        ),
        *("q.io/x/z:1", Found.ENVIRONMENT, LIKELY, "spec.containers[0].env.RELATED_IMAGE_B"),
    ),
    (
        container(env=[{"name": "A_IMAGE_REPO", "value": "x/y"}, {"name": "A_IMAGE_TAG", "value": "1"}]),
        *("docker.io/x/y:1", Found.ENVIRONMENT, LIKELY, "spec.containers[0].env.A_IMAGE_REPO"),
    ),
    (
        container(env=[{"name": "IMAGES", "value": "a=q.io/x/y:1,b=q.io/x/z:2"}]),
        *("q.io/x/z:2", Found.ENVIRONMENT, LIKELY, "spec.containers[0].env.IMAGES"),
    ),
    # config maps
    (configured(notes="docker pull x/y:1"), "docker.io/x/y:1", Found.CONFIG_MAP, LIKELY, "data.notes"),
    (configured(any="q.io/x/y:1.2"), "q.io/x/y:1.2", Found.CONFIG_MAP, LIKELY, "data.any"),
    (configured(any="y:1.2"), "docker.io/library/y:1.2", Found.CONFIG_MAP, GUESS, "data.any"),
    (configured(MY_IMAGE="y:1"), "docker.io/library/y:1", Found.CONFIG_MAP, LIKELY, "data.MY_IMAGE"),
    (configured(a="k:\n  image: x/y:1"), "docker.io/x/y:1", Found.CONFIG_MAP, LIKELY, "data.a.k.image"),
    (configured(a='{"image": "x/y:1"}'), "docker.io/x/y:1", Found.CONFIG_MAP, LIKELY, "data.a.image"),
    (configured(a='[s]\nsandbox_image = "x/y:1"'), "docker.io/x/y:1", Found.CONFIG_MAP, LIKELY, "data.a line 2"),
    (configured(a="set -e\nA=1.2\nrun q.io/x/y:$A"), "q.io/x/y:1.2", Found.CONFIG_MAP, LIKELY, "data.a line 3"),
    (configured(a="[x]\nI=${I:-q.io/x/y:1.2}"), "q.io/x/y:1.2", Found.CONFIG_MAP, LIKELY, "data.a line 2"),
    (
        configured(Dockerfile="FROM x/y\nRUN z"),
        "docker.io/x/y:latest",
        Found.CONFIG_MAP,
        LIKELY,
        "data.Dockerfile line 1",
    ),
    (
        configured(Dockerfile="FROM y:1 AS z\nRUN z"),
        "docker.io/library/y:1",
        Found.CONFIG_MAP,
        LIKELY,
        "data.Dockerfile line 1",
    ),
]


@pytest.mark.parametrize(("text", "image", "how", "certainty", "path"), PLACES)
def test_places(text: str, image: str, how: Found, certainty: Certainty, path: str) -> None:
    uses = found(text)
    assert image in uses, sorted(uses)
    use = uses[image]
    assert (use.found, use.certainty, use.place.path) == (how, certainty, path)


KINDS = [
    ("v1", "Pod", ["spec"]),
    ("v1", "PodTemplate", ["template", "spec"]),
    ("v1", "ReplicationController", ["spec", "template", "spec"]),
    ("apps/v1", "Deployment", ["spec", "template", "spec"]),
    ("apps/v1", "StatefulSet", ["spec", "template", "spec"]),
    ("apps/v1", "DaemonSet", ["spec", "template", "spec"]),
    ("apps/v1", "ReplicaSet", ["spec", "template", "spec"]),
    ("batch/v1", "Job", ["spec", "template", "spec"]),
    ("batch/v1", "CronJob", ["spec", "jobTemplate", "spec", "template", "spec"]),
]


def nested(path: list[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


@pytest.mark.parametrize("containers", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(("version", "kind", "path"), KINDS)
@pytest.mark.parametrize("listed", [False, True])
def test_every_workload_kind_is_certain(
    version: str, kind: str, path: list[str], containers: str, listed: bool
) -> None:
    one = {"name": "c", "image": "y", "imagePullPolicy": "Always"}
    whole = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, **nested(path, {containers: [one]})}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [whole]} if listed else whole)
    (use,) = scan(text, source="s")
    assert (use.image, use.certainty, use.pull_policy) == ("docker.io/library/y:latest", CERTAIN, "Always")
    assert (use.found, use.place.object) == (Found.POD, f"{kind} w")
    assert use.place.path == ".".join([*path, f"{containers}[0].image"])


def test_a_pull_without_a_tag_counts_beside_one_with_a_tag() -> None:
    text = configured(a="docker pull q.io/x/y\ndocker pull q.io/x/y:2\nrepo = quay.io/x/z\ntag = 3")
    assert set(found(text)) == {"q.io/x/y:latest", "q.io/x/y:2", "quay.io/x/z:3"}


def test_an_image_volume_is_certain() -> None:
    volume = {"name": "v", "image": {"reference": "q.io/m:1", "pullPolicy": "Always"}}
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "volumes": [volume]}})
    (use,) = scan(text, source="s")
    assert (use.image, use.found, use.certainty, use.pull_policy) == ("q.io/m:1", Found.VOLUME, CERTAIN, "Always")


@pytest.mark.parametrize(
    ("image", "computed"),
    [("q.io/x:$(V)", True), ("${IMAGE}", True), ("{{ .Image }}", True), ("Not An Image", False), ("Q/X:1", False)],
)
def test_a_pod_whose_image_is_no_name(image: str, computed: bool) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}})
    (use,) = scan(text, source="s")
    assert (use.text, use.reference, use.computed, use.certainty) == (image, None, computed, CERTAIN)


DECOYS = [
    *("foo:bar", "user:group", "1000:1000", "host:8080", "host.site:8080", "0.0.0.0:80", "12:30", "12:30:45", "16:9"),
    *("apps/v1", "10.0.0.0/8", "fd00::/8", "redis://h:6379/0", "http://q.io/x/y:1.2", "postgres://u:p@h:5432/d"),
    *("rw,vers=4.1", "/a:/b:ro", "/var/run/x.sock", "git@q.io:x/y.git", "github.com/x/y:v1.2", "nvidia.com/gpu:1"),
    *("node.kubernetes.io/x:NoSchedule", "system:node:x", "arn:aws:s3:::b/k", "a.b:c:1.2", "sha256:" + "0" * 64, D),
    *("true", "5", "1.2.3", "v1.2.3", "x", "", "text/html; charset=utf-8", "$(A)", "{{ .A }}", "a b:c"),
]


@pytest.mark.parametrize("text", DECOYS)
@pytest.mark.parametrize("place", ["data", "spec", "args", "env", "annotation"])
def test_decoys_are_never_claimed(text: str, place: str) -> None:
    texts = {
        "data": configured(any=text, lines=f"x = {text}\nsee {text}."),
        "spec": resource({"any": text, "list": [text], "description": "q.io/x/y:1.2"}),
        "args": container(args=[text, f"--any={text}", "--other", text]),
        "env": container(env=[{"name": "ANY", "value": text}]),
        "annotation": json.dumps({"apiVersion": "v1", "kind": "X", "metadata": {"annotations": {"a/b": text}}}),
    }
    assert found(texts[place], least=LIKELY) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"imagePullPolicy": "Always"},
        {"imagePullSecrets": ["x"]},
        {"backgroundImage": "x:v1"},
        {"image": "a/b.png"},
        {"image": "https://x.io/y:1"},
        {"osImage": "debian"},
        {"image": {"pullPolicy": "Always"}},
        {"image": 5, "imageId": True},
        {"imageRegistry": "q.io:5000"},
        {"repository": "https://q.io/x", "tag": "1"},
        {"images": {"replicas": 3, "size": "5Gi"}},
    ],
)
def test_fields_that_only_sound_like_it(fields: Any) -> None:
    assert found(resource(fields), least=LIKELY) == {}


def test_a_secret_shows_nothing_but_images() -> None:
    data = {"cfg": "sidecar_image = q.io/x/y:1\npassword = hunter:2.0\n", "p": "user:1.2", "dsn": "x:v1"}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    text = json.dumps({"apiVersion": "v1", "kind": "Secret", "data": encoded, "stringData": {"q": "admin:3.0"}})
    (use,) = scan(text, source="s")
    assert (use.image, use.found, use.place.path) == ("q.io/x/y:1", Found.SECRET, "data.cfg line 1")


def test_a_crd_counts_by_its_defaults_only() -> None:
    schema = {
        "properties": {
            "properties": {"properties": {"image": {"default": "q.io/deep:1", "description": "q.io/no:1.0"}}},
            "sidecar": {"default": {"image": "q.io/side:2"}, "example": {"image": "q.io/no:2.0"}},
            "list": {"items": {"properties": {"toolImage": {"default": "q.io/tool:3", "enum": ["q.io/no:3.0"]}}}},
        }
    }
    text = json.dumps({"apiVersion": "v1", "kind": "CustomResourceDefinition", "spec": {"schema": schema}})
    assert {use.image for use in scan(text, source="s")} == {"q.io/deep:1", "q.io/side:2", "q.io/tool:3"}
    assert {use.found for use in scan(text, source="s")} == {Found.DEFAULT}


def test_the_source_is_the_template_that_helm_names() -> None:
    first, second = resource({"image": "q.io/a:1"}), resource({"image": "q.io/b:1"})
    text = f"---\n# Source: c/templates/a.yaml\n{first}\n--- # next\n{second}"
    assert [use.place.source for use in scan(text, source="chart")] == ["chart: c/templates/a.yaml", "chart"]


def test_values_that_no_render_used() -> None:
    values = "image: {repository: q.io/on, tag: ''}\noff: {image: {repository: q.io/off, tag: 1.10}}\nport: 80\n"
    rendered = scan(resource({"image": "q.io/on:3"}), source="s")
    (use,) = scan_chart_sources(values, source="values.yaml", rendered=rendered)
    assert (use.image, use.certainty, use.found) == ("q.io/off:1.10", GUESS, Found.VALUES)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("a: [", 2, "YAML"),
        ("x: 1\n---\na: b\n c: d: e", 4, "YAML"),
        ("a: *b", 1, "an anchor before it"),
        ("a: \x01", 1, "YAML"),
        ("? {a: b}\n: c", 1, "a plain key"),
        ("[" * 200 + "]" * 200, 1, "128 levels at most"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(text: str, line: int, expected: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        scan(text, source="s")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.expected) == ("s", line, expected)


def test_aliases_that_explode_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LIMITS", replace(LIMITS, nodes=50_000))
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(InvalidDocument):
        scan("\n".join(lines), source="s")


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["A0=q.io/x/y:1.2", *(f"A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 60))]),
        "x\nA=" + "q.io/x/y:1.2" * 40 + "\n" + ("$A" * 60 + "\n") * 5000,
        "images: " * 20_000,
        "[x\n" + "image=$(" * 20_000,
        "[x\n" + "{{" * 50_000,
        "x\n" + "docker run " * 20_000,
        "x\n" + "a:1.2" * 50_000,
        "x\n" + "--image " * 20_000,
        "[x\n" + "${A:-" * 20_000,
    ],
    ids=range(9),
)
def test_text_that_grows_is_read_in_bounded_time(text: str) -> None:
    start = time.process_time()
    with suppress(InvalidDocument):
        scan(configured(any=text), source="s")
    assert time.process_time() - start < 20


@given(references, st.sampled_from(KINDS), st.lists(st.sampled_from(["sidecar", "spec", "template"]), max_size=3))
def test_any_pod_spec_gives_its_image(reference: Any, kind: Any, around: list[str]) -> None:
    version, name, path = kind
    pod = {"containers": [{"name": "c", "image": str(reference)}]}
    (use,) = scan(json.dumps({"apiVersion": version, "kind": name, **nested(path, pod)}), source="s")
    assert (use.reference, use.certainty) == (reference, CERTAIN)
    other = {"apiVersion": "example.com/v1", "kind": "Other", "spec": nested(around, pod)}
    assert {use.reference for use in scan(json.dumps(other), source="s")} == {reference}


_words = st.sampled_from(
    (
        *(
            "apiVersion",
            "kind",
            "v1",
            "Secret",
            "ConfigMap",
            "data",
            "CustomResourceDefinition",
            "properties",
            "default",
        ),
        *("image", "repository", "tag", "containers", "env", "name", "value", "volumes"),
        *("q.io/x:1.2", "--image", "${X}", "<<"),
    )
)
_leaves = st.none() | st.booleans() | st.integers() | printable() | _words
_trees = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | printable(most=5), inner, max_size=5)
)


@given(_trees)
def test_any_tree_is_scanned(tree: Any) -> None:
    text = json.dumps(tree, ensure_ascii=False)
    uses = scan(text, source="s")
    assert len({(use.place, use.image) for use in uses}) == len(uses)


@fewer(1)
@given(st.text() | st.lists(st.sampled_from([*"[]{}:&*-?|>'\"%@`!#, \n\tax", "<<", "---"])).map("".join))
def test_any_text_is_scanned_or_refused(text: str) -> None:
    for scanned in (text, configured(any=text)):
        with suppress(InvalidDocument):
            scan(scanned, source="s")
