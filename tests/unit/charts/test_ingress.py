"""The chart ingress: HAProxy Ingress as a site wants it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.house_charts import NotRendered, Objects, render


def made(values: Mapping[str, Any]) -> Objects:
    return render("ingress", values, namespace="ingress")


def arguments(objects: Objects) -> dict[str, str]:
    (workload,) = objects.workloads
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(word.removeprefix("--").partition("=")[::2] for word in container["args"])


def test_two_of_them_behind_an_address_of_the_site() -> None:
    objects = made({"service": {"address": "10.77.0.100"}})
    deployment = objects.one("Deployment", "haproxy-ingress")["spec"]
    assert (deployment["replicas"], objects.of("DaemonSet")) == (2, [])
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["template"]["spec"]["affinity"]["podAntiAffinity"]
    service = objects.one("Service", "haproxy-ingress")
    assert service["metadata"]["annotations"] == {"metallb.io/loadBalancerIPs": "10.77.0.100"}
    assert (service["spec"]["type"], service["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert [port["port"] for port in service["spec"]["ports"]] == [80, 443]
    objects.one("PodDisruptionBudget", "haproxy-ingress")
    assert "annotations" not in made({}).one("Service", "haproxy-ingress")["metadata"]


def test_they_keep_apart_where_there_is_room() -> None:
    for mode, surge in (("preferred", 1), ("required", 0)):
        deployment = made({"antiAffinity": mode}).one("Deployment", "haproxy-ingress")["spec"]
        assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": 1 - surge}
        pod = deployment["template"]["spec"]
        assert list(pod["affinity"]["podAntiAffinity"]) == [f"{mode}DuringSchedulingIgnoredDuringExecution"]
        assert {each["tolerationSeconds"] for each in pod["tolerations"]} == {30}
    with pytest.raises(NotRendered, match="preferred or required"):
        made({"antiAffinity": "maybe"})


def test_one_on_each_of_some_nodes() -> None:
    objects = made({"kind": "daemonset", "hostNetwork": True, "nodeSelector": {"edge": "yes"}})
    pod = objects.one("DaemonSet", "haproxy-ingress")["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["nodeSelector"] == {"edge": "yes", "kubernetes.io/os": "linux"}
    service = objects.one("Service", "haproxy-ingress")["spec"]
    assert service["type"] == "ClusterIP"
    assert "externalTrafficPolicy" not in service
    assert "report-node-internal-ip-address" in arguments(objects)
    assert "publish-service" not in arguments(objects)
    assert (objects.of("Deployment"), objects.of("PodDisruptionBudget")) == ([], [])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"ingress-class": "haproxy", "watch-ingress-without-class": "true", "disable-config-keywords": "*"}),
        ({}, {"configmap": "ingress/haproxy-ingress", "publish-service": "ingress/haproxy-ingress"}),
        (
            {"class": {"name": "inside", "default": False}},
            {"ingress-class": "inside", "watch-ingress-without-class": "false"},
        ),
        ({"service": {"address": "10.77.0.100"}}, {"publish-address": "10.77.0.100"}),
        ({"certificate": "ingress/site"}, {"default-ssl-certificate": "ingress/site"}),
        ({"refusedSnippets": "server"}, {"disable-config-keywords": "server"}),
    ],
)
def test_what_the_controller_is_told(values: dict[str, Any], wanted: dict[str, str]) -> None:
    found = arguments(made(values))
    assert {key: found.get(key) for key in wanted} == wanted


def test_the_class() -> None:
    key = "ingressclass.kubernetes.io/is-default-class"
    default = made({}).one("IngressClass", "haproxy")
    assert (default["metadata"]["annotations"][key], default["spec"]["controller"]) == (
        "true",
        "haproxy-ingress.github.io/controller",
    )
    other = made({"class": {"name": "inside", "default": False}})
    assert other.one("IngressClass", "inside")["metadata"]["annotations"][key] == "false"


def test_global_keys_are_text() -> None:
    given = {"proxy-body-size": "100m", "nbthread": 8, "ssl-redirect": False, "prometheus-port": 1}
    data = made({"config": given}).one("ConfigMap", "haproxy-ingress")["data"]
    assert data == {"proxy-body-size": "100m", "nbthread": "8", "ssl-redirect": "false", "prometheus-port": "9101"}


def test_a_line_for_each_request() -> None:
    objects = made({"accessLog": True, "config": {"syslog-length": 4096}})
    data = objects.one("ConfigMap", "haproxy-ingress")["data"]
    assert data == {
        "prometheus-port": "9101",
        "syslog-endpoint": "stdout",
        "syslog-format": "raw",
        "syslog-length": "4096",
    }
    assert "master-worker" in arguments(objects)
    assert "master-worker" not in arguments(made({}))


def test_probes_ask_haproxy_itself() -> None:
    (container,) = made({}).containers()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {(ports[probe["port"]], probe["path"]) for probe in probes} == {(10253, "/healthz")}


def test_a_pod_that_goes_is_left_before_it_stops() -> None:
    """Ready ends by HAProxy's own word, while ports 80 and 443 are still open."""
    objects = made({})
    (container,) = objects.containers()
    shell, option, text = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    asked, slept = text.split("; sleep ")
    assert asked.startswith("echo 'disable frontend healthz' | socat ")
    probe = container["readinessProbe"]
    unready = probe["periodSeconds"] * probe.get("failureThreshold", 3)
    grace = objects.one("Deployment", "haproxy-ingress")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert unready + 5 < int(slept) < grace - 30, "who leads clients here has seconds to lead them elsewhere"


@pytest.mark.parametrize(
    ("values", "words"),
    [({"kind": "pod"}, "deployment or daemonset"), ({"hostNetwork": True}, "hostNetwork needs kind: daemonset")],
)
def test_what_could_not_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        made(values)
