"""How many names a second a cluster gives, as a host of it sees that: tests/dnsload.py, run there."""

import json
import time
from pathlib import Path

from tests import dnsload
from tests.nodes import Lab

# Behind dnsload's own text. Any address has a pod's name; those of other octets were never asked for.
_PROGRAM = """
import json
known = [f"{{name}}.svc.cluster.local" for name in ("kubernetes.default", "kube-dns.kube-system")]
new = [f"{first}-{{a}}-{{b}}.default.pod.cluster.local" for a in range(250) for b in range(250)]
said = load("{server}", 53, {kind}, count={count}, rate={rate})
print(json.dumps({{name: getattr(said, name) for name in Measured.__slots__}}))
"""


def measured(lab: Lab, node: str, server: str, kind: str, *, rate: int, seconds: int = 5) -> dnsload.Measured:
    """Questions for `known` or `new` names from a node."""
    now = int(time.time())
    first = f"{now // 250 % 250}-{now % 250}"
    more = _PROGRAM.format(server=server, kind=kind, count=rate * seconds, rate=rate, first=first)
    source = Path(dnsload.__file__).read_text() + more
    said = json.loads(lab.run(node, "python3 -", stdin=source.encode()))
    return dnsload.Measured(**{**said, "codes": {int(code): count for code, count in said["codes"].items()}})
