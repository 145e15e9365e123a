"""Kubernetes' own end-to-end suite against a cluster (scripts/lab/e2e): which of its specs run, and how they ended."""

import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_E2E = Path(__file__).parents[1] / "scripts" / "lab" / "e2e"
# What cannot pass here, and why.
LEFT_OUT: Mapping[str, str] = {
    "Kubelet when scheduling a read only busybox container should not write to root filesystem": (
        "it wants the words of BusyBox' shell, and Debian's drops variables and takes programs' places: sh is bash here"
    ),
}
# What would disturb others: these go alone, when the others are done.
_ALONE = re.compile(r"\[(Serial|Disruptive)\]")
_SLOW = re.compile(r"\[(Serial|Disruptive|Slow)\]")


def conformance() -> list[str]:
    """Names of all specs that say what any cluster must do, but those that are left out."""
    said = subprocess.run([_E2E, "--list", r"\[Conformance\]"], capture_output=True, text=True, check=True)
    names = (re.sub(r"^\s*\S+: ", "", line) for line in said.stdout.splitlines())
    return sorted(name for name in names if not any(re.search(each, name) for each in LEFT_OUT))


def quick(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _SLOW.search(name)]


def ran(kubeconfig: Path, names: Sequence[str], folder: Path, *, ways: int, limit: int) -> dict[str, str]:
    """Run these specs, several at a time; how each ended ("passed", …), by name. What the suite says is in `folder`."""
    alone = [name for name in names if _ALONE.search(name)]
    others = [name for name in names if name not in set(alone)]
    parts = [part for at in range(ways) if (part := others[at::ways])]
    with ThreadPoolExecutor(max_workers=ways) as pool:
        ends = list(pool.map(lambda at: _run(kubeconfig, parts[at], folder / f"{at}", limit), range(len(parts))))
    if alone:
        ends.append(_run(kubeconfig, alone, folder / "alone", limit))
    return {name: end for each in ends for name, end in each.items()}


def _run(kubeconfig: Path, names: Sequence[str], folder: Path, limit: int) -> dict[str, str]:
    focus = "|".join(re.escape(name) for name in names)
    command = [str(_E2E), "--kubeconfig", str(kubeconfig), "--limit", str(limit), "--report", str(folder), focus]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"\n{said.stdout}{said.stderr}")
    cases = [case for file in folder.glob("junit*.xml") for case in ET.parse(file).iter("testcase")]
    ends = {case.get("name", "").removeprefix("[It] "): case.get("status", "") for case in cases}
    return {name: ends.get(name, "not run") for name in names}
