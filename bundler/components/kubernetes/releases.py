"""What helm has in the cluster: its own records of releases, and objects of ours that are not as their charts say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bundler.components.kubernetes.existing import KUBECONFIG, appliers, existing
from bundler.components.kubernetes.pki import CONTROL_PLANE, at
from bundler.components.kubernetes.settings import API_PORT
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask
from bundler.steps.step import Goal

ADMIN = "/etc/kubernetes/admin.conf"
CLUSTER = f"kubernetes/{CONTROL_PLANE}"
HELM = "kubernetes/helm"
CONTENT = "bundle-content"  # the label that says what a release of a chart was made from
SITE = "bundle-site"  # and, where the cluster is not ours, the one that says whose it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """Helm's newest record of a release: `status` in its words, `content` what it was made from, and for which `site`,
    in a cluster that is not ours."""

    status: str
    content: str
    site: str = ""


def newest(records: Iterable[tuple[str, int, Deployed]]) -> Mapping[str, Deployed]:
    """Of the numbered records of each NAMESPACE/NAME the one with the highest number."""
    found: dict[str, tuple[int, Deployed]] = {}
    for place, number, deployed in records:
        if place not in found or number > found[place][0]:
            found[place] = (number, deployed)
    return {place: deployed for place, (_, deployed) in found.items()}


def _deployed(said: str) -> Mapping[str, Deployed]:
    rows = (line.split("|") for line in said.splitlines())
    return newest(
        (f"{namespace}/{name}", int(version), Deployed(status=status, content=content, site=site))
        for namespace, name, version, status, content, site in rows
    )


_FIELDS = ("namespace", "labels.name", "labels.version", "labels.status", f"labels.{CONTENT}", f"labels.{SITE}")
_LINE = "|".join(f"{{.metadata.{name}}}" for name in _FIELDS)


def _asked(config: str, after: str) -> Ask[Mapping[str, Deployed]]:
    return Ask(
        name="charts in the cluster",
        after=after,
        script=f"""n=0
until said=$(kubectl --kubeconfig {config} --request-timeout=15s get secrets -A -l owner=helm \\
  -o jsonpath='{{range .items[*]}}{_LINE}{{"\\n"}}{{end}}')
do n=$((n+1)); [ $n -lt 4 ] || exit 1; sleep 2; done  # an API server that is busy, or just comes
printf '%s\\n' "$said" | grep . || :""",
        reading=_deployed,
        bare={},
    )


# By NAMESPACE/NAME, from helm's own records.
RELEASES = _asked(ADMIN, CLUSTER)
_THEIRS = _asked(KUBECONFIG, HELM)


def releases(goal: Goal) -> Ask[Mapping[str, Deployed]]:
    return _THEIRS if existing(goal) else RELEASES


def admin(goal: Goal) -> str:
    """The kubeconfig that charts are applied by."""
    return KUBECONFIG if existing(goal) else ADMIN


# Of each release of ours the objects that are not as its chart has them: what the server would make of applying them
# once more, tried and not done, so that defaults and what a chart leaves to others are no difference. kubectl lays each
# object under its name in two folders. Where a webhook that is down keeps the server from trying nothing is said.
_COMPARE = """set -- $(kubectl --kubeconfig ADMIN --request-timeout=15s get secrets -A \\
  -l owner=helm,status=deployed,LABELS \\
  -o jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.labels.name} {end}') || exit 1
umask 077; mkdir -p /run/bundle && d=$(mktemp -d /run/bundle/compare.XXXXXX) || exit 1
trap 'rm -rf "$d"' EXIT
export HELM_CACHE_HOME="$d" HELM_CONFIG_HOME="$d" HELM_DATA_HOME="$d" TMPDIR="$d" KUBECTL_EXTERNAL_DIFF='diff -rqN'
compare() {
  cp ADMIN "$d/$2.config" && export KUBECONFIG="$d/$2.config" || return
  kubectl config set-context --current --namespace="$1" >/dev/null || return
  helm get manifest "$2" -n "$1" > "$d/$2.yaml" || return
  kubectl diff --server-side --force-conflicts --field-manager=helm -f "$d/$2.yaml" > "$d/$2.said" 2> "$d/$2.errors"
  if [ $? -gt 1 ]; then
    if grep -qE 'no matches for kind|namespaces .* not found' "$d/$2.errors"; then echo "$1/$2 what others need"
    elif ! grep -q 'failed calling webhook' "$d/$2.errors"; then head -n 3 "$d/$2.errors" >&2; return 1; fi
  fi
  sed -n "s#^Files .*/\\([^/ ]*\\) and .* differ\\$#$1/$2 \\1#p" "$d/$2.said"
}
each() {  # an API server that is busy is asked again
  for n in 1 2 3 4; do if compare "$1" "$2" > "$d/$2.found"; then cat "$d/$2.found"; return; fi; sleep 1; done
  : > "$d/failed"
}
for r; do each "${r%/*}" "${r#*/}" & done; wait; [ ! -e "$d/failed" ]"""


def _drifted(said: str) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in said.splitlines():
        place, _, name = line.partition(" ")
        found[place] = (*found.get(place, ()), name)
    return found


def drift(goal: Goal, host: SiteHost) -> Ask[Mapping[str, tuple[str, ...]]]:
    """By NAMESPACE/NAME, the objects that differ. Asked of the first control plane whose API answers, and not again."""
    before = appliers(goal)[: appliers(goal).index(host)]
    elsewhere = "".join(
        f"if curl -sfk -m 2 -o /dev/null https://{at(each.address, API_PORT)}/livez; then exit 0; fi\n"
        for each in before
    )
    compare = _COMPARE.replace("ADMIN", admin(goal)).replace("LABELS", labels(goal))
    return Ask(
        name="objects of charts",
        after=HELM if existing(goal) else CLUSTER,
        script=f"{elsewhere}command -v helm >/dev/null || exit 0\n{compare}",
        reading=_drifted,
        bare={},
    )


def labels(goal: Goal) -> str:
    """The labels of releases of ours, to select by: a cluster that is not ours may have those of another site."""
    return f"{CONTENT},{SITE}={goal.site.name}" if existing(goal) else CONTENT


def is_ours(goal: Goal, have: Deployed) -> bool:
    return bool(have.content) and (existing(goal) is None or have.site == goal.site.name)
