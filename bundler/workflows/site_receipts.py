"""`bundle receipt --site`: what each site host holds, written and signed by itself."""

from dataclasses import dataclass
from pathlib import Path

from bundler.components.store import COMMAND, ROOT
from bundler.errors import BadSignature, FactUnknown
from bundler.hosts.base import Host, Script
from bundler.model.limits import LIMITS
from bundler.model.receipt import TYPE, Receipt, parse_receipt, split_receipt
from bundler.signing.keys import PublicKey
from bundler.support import files
from bundler.workflows.deploy import changing
from bundler.workflows.deployment import Request
from bundler.workflows.whole_site import SLOW, site_hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReceipt:
    """A host's receipt, where it was written to, and the key that signed it."""

    host: str
    path: Path
    receipt: Receipt
    keyid: str


def receipts(request: Request, out: Path) -> list[HostReceipt]:
    """One of each site host: at `out`, where there is one host, else beside it with the host in its name.

    Raises FactUnknown, BadSignature, MalformedReceipt, CannotWrite.
    """
    with changing(request) as (deployed, lease):
        hosts = site_hosts(deployed)
        found = [(host.name, _receipt(deployed.hosts[host.name], lease.epoch)) for host in hosts]
    taken = []
    for name, data in found:
        path = out if len(found) == 1 else out.with_name(f"{out.stem}.{name}{out.suffix}")
        line, signature = split_receipt(data, path=f"{name}: its receipt")
        receipt = parse_receipt(line, path=f"{name}: its receipt")
        key = PublicKey(receipt.key)
        if not key.verifies(signature, line):
            raise BadSignature(keyid=key.keyid, what=TYPE, why="it changed on its way")
        files.write_file(path, data)
        taken.append(HostReceipt(host=name, path=path, receipt=receipt, keyid=key.keyid))
    return taken


def _receipt(host: Host, epoch: int) -> bytes:
    text = f"""d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
{COMMAND} receipt --root {ROOT} -o "$d/receipt" >&2 && cat "$d/receipt"
"""
    answer = host.run(Script(text=text, timeout=SLOW, epoch=epoch))
    if answer.code != 0 or len(answer.stdout) > LIMITS.document:
        raise FactUnknown(host=host.name, fact="its receipt", why=answer.tail(8) or f"code {answer.code}")
    return answer.stdout
