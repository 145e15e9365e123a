"""What a cluster says that is there already, asked on the site host that speaks with it: with nothing there yet but
Python, so that it can be asked before anything is changed."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.components.kubernetes.existing import existing, parsed
from bundler.components.kubernetes.releases import CONTENT, SITE, Deployed, newest
from bundler.steps.facts import Ask
from bundler.steps.step import Goal

_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_NAMES = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERSION, NODES, RELEASES, PODS = "version", "nodes", "releases", "pods"
_VERBS = ("get", "create", "patch", "delete")
# What charts are made of, and helm's own records.
_KINDS = (
    ("", "configmaps"),
    ("", "namespaces"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("networking.k8s.io", "ingressclasses"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
)
_MAY, _ALL = "may ", "may * *"
_READING = (("list", "", "nodes"), ("list", "", "secrets"))  # what is asked for with no chart, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A row of `kubectl get nodes -o wide`."""

    name: str
    status: str
    address: str
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    namespace: str
    name: str
    status: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`error` is what ended the talk; `certificate` what the server showed, PEM; `codes` are those of the answers."""

    error: str
    certificate: str
    codes: Mapping[str, int]
    bodies: Mapping[str, Any]

    @property
    def refused(self) -> bool:
        """Whether it does not know who we are."""
        return 401 in self.codes.values()

    @property
    def version(self) -> str:
        return str(self.bodies.get(VERSION, {}).get("gitVersion", "")).removeprefix("v")

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(name=row["Name"], status=row["Status"], address=row["Internal-IP"], runtime=row["Container-Runtime"])
            for row in self._rows(NODES)
        )

    @property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(
            Pod(namespace=row["namespace"], name=row["Name"], status=row["Status"], node=row["Node"])
            for row in self._rows(PODS)
        )

    @property
    def releases(self) -> Mapping[str, Deployed]:
        """By NAMESPACE/NAME; of each the newest."""
        return newest(map(_record, self.objects(RELEASES)))

    def objects(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The metadata of what was listed under this name."""
        return tuple(item["metadata"] for item in self.bodies.get(name, {}).get("items") or ())

    def lacks(self) -> tuple[str, ...]:
        """What we may not do, `VERB KIND` each; nothing when we may do everything."""
        reviews = {name: body for name, body in self.bodies.items() if name.startswith(_MAY)}
        refused = [name for name, body in reviews.items() if not body.get("status", {}).get("allowed")]
        return tuple(name.removeprefix(_MAY) for name in refused if name != _ALL) if _ALL in refused else ()

    def _rows(self, name: str) -> Iterator[dict[str, str]]:
        table = self.bodies.get(name, {})
        columns = [column["name"] for column in table.get("columnDefinitions", ())]
        for row in table.get("rows") or ():
            metadata = (row.get("object") or {}).get("metadata", {})
            cells = dict(zip(columns, map(str, row["cells"]), strict=True))
            yield {**cells, "namespace": metadata.get("namespace", "")}


def _record(item: Mapping[str, Any]) -> tuple[str, int, Deployed]:
    """What helm says by the labels of one of its Secrets."""
    labels = item.get("labels", {})
    deployed = Deployed(status=labels.get("status", ""), content=labels.get(CONTENT, ""), site=labels.get(SITE, ""))
    return f"{item['namespace']}/{labels.get('name')}", int(labels.get("version", 0)), deployed


def _read(said: str) -> View:
    told = json.loads(said)
    answers: dict[str, Any] = told["answers"]
    bodies = {name: json.loads(each["text"]) for name, each in answers.items() if each["code"] in (200, 201)}
    codes = {name: each["code"] for name, each in answers.items()}
    return View(error=told["error"], certificate=told["certificate"], codes=codes, bodies=bodies)


def _question(name: str, path: str, accept: str = "", body: Any = None) -> dict[str, Any]:
    return {"name": name, "path": path, "accept": accept, "body": body}


def _script(goal: Goal, asks: list[dict[str, Any]]) -> str:
    known = parsed(goal)
    given = {
        "server": known.server,
        "name": known.name,
        "ca": known.ca,
        "certificate": known.certificate,
        "key": known.key.reveal(),
        "token": known.token.reveal(),
        "insecure": known.insecure,
        "asks": asks,
    }
    encoded = base64.b64encode(json.dumps(given).encode()).decode()
    program = Path(__file__).with_name("ask_cluster.py").read_text(encoding="utf-8")
    # printf is the shell's own: nobody sees its arguments. The quotes keep the program's text as it is.
    return f"""p=$(cat <<'PROGRAM'
{program}PROGRAM
)
printf %s {encoded} | python3 -c "$p\""""


_BASICS = [
    _question(VERSION, "/version"),
    _question(NODES, "/api/v1/nodes?limit=5000&includeObject=None", _TABLE),
]


def before(goal: Goal, claims: Mapping[str, str]) -> Ask[View]:
    """All that is to be known before the first change; `claims` are paths of kinds by their names here."""

    def make() -> Ask[View]:
        chosen = existing(goal)
        wanted = [*_READING, ("*", "*", "*")]
        if chosen and chosen.charts:
            wanted += [(verb, group, kind) for group, kind in _KINDS for verb in _VERBS]
        asks = [
            *_BASICS,
            _question(RELEASES, "/api/v1/secrets?labelSelector=owner%3Dhelm", _NAMES),
            *(_question(name, path, _NAMES) for name, path in claims.items()),
            *(_may(*each) for each in wanted),
        ]
        return Ask(name="the cluster that is there", script=_script(goal, asks), reading=_read)

    return goal.once("kubernetes/existing before", make)


def _may(verb: str, group: str, kind: str) -> dict[str, Any]:
    spec = {"resourceAttributes": {"verb": verb, "group": group, "resource": kind}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    shown = f"{kind}.{group}" if group and group != "*" else kind
    return _question(f"{_MAY}{verb} {shown}", _REVIEWS, body=body)


def now(goal: Goal) -> Ask[View]:
    """What health looks at."""

    def make() -> Ask[View]:
        pods = _question(PODS, "/api/v1/pods?limit=5000&fieldSelector=status.phase%3DPending", _TABLE)
        return Ask(name="how the cluster is", script=_script(goal, [*_BASICS, pods]), reading=_read)

    return goal.once("kubernetes/existing now", make)
