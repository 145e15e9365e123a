"""metrics-server: what pods and hosts use, for autoscaling and `kubectl top`."""

from collections.abc import Mapping
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import CONTROL_PLANE
from bundler.steps.step import Component, Goal

NAME = "metrics-server"
_CLUSTER_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    # Kubelets show certificates of the cluster's authority, for their addresses: nothing is taken unseen.
    return {"metrics-server": {"args": [f"--kubelet-certificate-authority={_CLUSTER_CA}"]}}


COMPONENT = Component(
    name=NAME,
    about="What pods and hosts use (metrics-server).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, values=_values, needs=("flannel",)),),
    claims=(("/apis/apiregistration.k8s.io/v1/apiservices", r"v1beta1\.metrics\.k8s\.io"),),
    roles=(CONTROL_PLANE,),
)
