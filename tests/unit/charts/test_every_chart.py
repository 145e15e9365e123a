"""What holds of all our charts: helm is content, and nothing in them surprises a site without a network."""

import json
import re
from typing import Any

import pytest
import yaml

from bundler.catalog.load import read_component
from bundler.catalog.manifests import Manifests
from bundler.closure.scan import scan
from bundler.model.component import ChartRequest
from tests.house_charts import CHARTS, FULL, NAMES, lint, render, render_text
from tests.lab import ROOT

MANIFESTS = Manifests(folders=(ROOT / "manifests",))


def named(thing: dict[str, Any]) -> str:
    name: str = thing["metadata"]["name"]
    return name


def asked() -> list[ChartRequest]:
    """Every mention of a chart of ours in the catalog."""
    components = [read_component(name, manifests=MANIFESTS) for name in MANIFESTS.names("components")]
    choices = [each.at(version) for each in components for version in ([name for name, _ in each.versions] or [""])]
    charts = [chart for choice in choices for chart in choice.content.charts]
    return [chart for chart in charts if chart.repository.startswith("file:")]


def test_each_is_tried_and_in_the_catalog() -> None:
    assert sorted(FULL) == NAMES
    for request in asked():
        said = yaml.safe_load((CHARTS / request.repository.removeprefix("file:") / "Chart.yaml").read_text())
        assert (request.name, request.version) == (said["name"], said["version"])
    assert {request.name for request in asked()} == set(NAMES)


@pytest.mark.parametrize("values", ["without", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_helm_is_content(name: str, values: str) -> None:
    assert lint(name, FULL[name] if values == "full" else {}) == ""


@pytest.mark.parametrize("name", NAMES)
def test_selectors_find_their_own_pods_and_no_others(name: str) -> None:
    objects = render(name, FULL[name])
    pods = {named(each): each["spec"]["template"]["metadata"]["labels"] for each in objects.workloads}

    def found(selector: dict[str, str]) -> set[str]:
        return {pod for pod, labels in pods.items() if selector.items() <= labels.items()}

    for workload in objects.workloads:
        assert found(workload["spec"]["selector"]["matchLabels"]) == {named(workload)}
        spec = workload["spec"]["template"]["spec"]
        for term in spec.get("topologySpreadConstraints", ()):
            assert found(term["labelSelector"]["matchLabels"]) == {named(workload)}
    for budget in objects.of("PodDisruptionBudget"):
        assert len(found(budget["spec"]["selector"]["matchLabels"])) == 1
    for service in objects.of("Service"):
        pod = found(service["spec"]["selector"])
        assert len(pod) == 1
        workload = objects.one(next(each["kind"] for each in objects.workloads if named(each) in pod), *pod)
        containers = workload["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for container in containers for port in container.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", NAMES)
def test_images_are_full_and_pods_are_bounded(name: str) -> None:
    objects = render(name, FULL[name])
    for container in objects.containers():
        assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9./_-]+:[\w.-]+", container["image"])
        assert not container["image"].endswith(":latest")
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    for workload in objects.workloads:
        spec = workload["spec"]["template"]["spec"]
        assert spec["priorityClassName"].startswith("system-")
        main = spec["containers"][0]
        assert {"readinessProbe", "livenessProbe"} <= main.keys()
        ports = {port["name"] for port in main.get("ports", ())}
        for probe in ("readinessProbe", "livenessProbe"):
            port = main[probe]["httpGet"]["port"]
            assert isinstance(port, int) or port in ports
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        mounts = {
            m["name"] for c in (*spec.get("initContainers", ()), *spec["containers"]) for m in c.get("volumeMounts", ())
        }
        assert mounts == volumes.keys()
        for volume in volumes.values():
            if "configMap" in volume:
                objects.one("ConfigMap", volume["configMap"]["name"])
        if "serviceAccountName" in spec:
            objects.one("ServiceAccount", spec["serviceAccountName"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_bound_is_there(name: str) -> None:
    objects = render(name, FULL[name], namespace="somewhere")
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for binding in objects.of(kind):
            objects.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
            for subject in binding["subjects"]:
                account = objects.one("ServiceAccount", subject["name"])
                assert account["metadata"]["namespace"] == subject["namespace"]
    for role in (*objects.of("ClusterRole"), *objects.of("Role")):
        words = [word for rule in role["rules"] for word in (*rule["resources"], *rule["verbs"], *rule["apiGroups"])]
        assert "*" not in words


@pytest.mark.parametrize("request_", asked(), ids=lambda each: f"{each.name}-{each.version}")
def test_the_proof_finds_each_image(request_: ChartRequest) -> None:
    """What `bundle check` sees in a render is what the pods ask for, and nothing that only looks like an image."""
    for values in (request_.values, *(each.values for each in request_.variants)):
        plain = json.loads(values or "{}")
        text = render_text(request_.name, plain)
        assert {use.image for use in scan(text, source="chart")} == render(request_.name, plain).images
