"""The command line of scripts/lab/nodes."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from scripts.lab.common import say
from scripts.lab.node.labs import Lab, Trouble, default_state


def main() -> int:
    options = _parsed()
    lab = Lab(options.name, (options.state or default_state(options.name)).absolute())
    try:
        return _perform(options, lab)
    except Trouble as trouble:
        say(f"nodes: {trouble}")
        return 1


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nodes")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="lab")
    common.add_argument("--state", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", parents=[common])
    up.add_argument("count", type=int, choices=range(1, 101), metavar="N")
    up.add_argument("--owner", type=int, help="a process at whose end the lab may be swept away")
    verbs.add_parser("down", parents=[common])
    verbs.add_parser("list", parents=[common]).add_argument("--json", action="store_true")
    ssh = verbs.add_parser("ssh", parents=[common])
    ssh.add_argument("node")
    ssh.add_argument("words", nargs=argparse.REMAINDER)
    for verb in ("kill", "start", "replace"):
        verbs.add_parser(verb, parents=[common]).add_argument("node")
    for verb in ("snapshot", "restore"):
        parts = verbs.add_parser(verb, parents=[common])
        parts.add_argument("node")
        parts.add_argument("label", metavar="NAME")
    verbs.add_parser("packets", parents=[common]).add_argument("--reset", action="store_true")
    return parser.parse_args()


def _perform(options: argparse.Namespace, lab: Lab) -> int:
    if options.verb == "up":
        began = time.monotonic()
        lab.up(options.count, options.owner)
        say(f"lab {lab.name}: {options.count} nodes in {time.monotonic() - began:.1f} s")
        _show(lab, as_json=False)
    elif options.verb == "down":
        lab.down()
    elif options.verb == "list":
        _show(lab, as_json=options.json)
    elif options.verb == "ssh":
        return subprocess.run(lab.ssh(options.node, *options.words), check=False).returncode
    elif options.verb == "packets":
        print(json.dumps(lab.packets(reset=options.reset), indent=1))
    else:
        _change(options, lab)
    return 0


def _change(options: argparse.Namespace, lab: Lab) -> None:
    names = lab.names() if options.node == "all" else [lab.node(options.node).name]
    if options.verb == "snapshot":
        lab.snapshot(names, options.label)
    elif options.verb == "restore":
        lab.restore(names, options.label)
    elif options.verb == "start":
        lab.start(names)
    elif options.verb == "replace":
        for name in names:
            lab.replace(name)
    else:
        for name in names:
            lab.kill(name)


def _show(lab: Lab, *, as_json: bool) -> None:
    nodes = [
        {"name": each.name, "address": each.address, "host_key": each.host_key, "running": lab.running(each.name)}
        for each in lab.nodes()
    ]
    if as_json:
        print(json.dumps({"name": lab.name, "state": str(lab.state), "nodes": nodes}, indent=1))
        return
    for node in nodes:
        print(f"{node['name']:4} {node['address']:14} {'on ' if node['running'] else 'off'} {node['host_key']}")


if __name__ == "__main__":
    sys.exit(main())
