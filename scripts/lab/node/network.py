"""The network of a lab: a namespace with a bridge and a router that has no way out, and one namespace for each node.

The machine reaches nodes through the router, by a link of its own; nodes only answer. A packet for anywhere outside the
lab's subnet is counted, by who sent it where, and refused; so is a question to a name server.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from scripts.lab.common import run

LABS = 250
RULES = """
table inet lab {
  set tried { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; counter; }
  set others { type ipv4_addr . ipv4_addr . inet_proto; flags dynamic; size 65535; counter; }
  counter left { }
  counter left6 { }
  counter names { }
  chain arriving {
    type filter hook prerouting priority -100; policy accept;
    iifname != "br0" return
    ct state established,related return
    ip daddr SUBNET.1 th dport 53 counter name names jump notice
    ip daddr { SUBNET.0/24, 224.0.0.0/4, 255.255.255.255, 0.0.0.0 } return
    ip6 daddr { fe80::/10, ff00::/8 } return
    meta nfproto ipv4 counter name left jump notice
    meta nfproto ipv6 counter name left6
  }
  chain notice {
    meta l4proto { tcp, udp } update @tried { ip saddr . ip daddr . meta l4proto . th dport counter } return
    update @others { ip saddr . ip daddr . meta l4proto counter }
  }
  chain forwarded {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname { "host", "br0" } oifname "br0" accept
    reject with icmpx admin-prohibited
  }
  chain arrived {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    reject with icmpx port-unreachable
  }
}
"""


class Full(Exception):
    """No number is free for another lab."""


def _ip(*words: str, namespace: str = "") -> None:
    run(["ip", *(["-n", namespace] if namespace else []), *words])


def _quietly(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def subnet(number: int) -> str:
    """The first three parts of the addresses."""
    return f"10.77.{number}"


def _taken(number: int) -> bool:
    """Whether this machine has a route there that is not the default one."""
    for prefix in (f"{subnet(number)}.0/24", f"10.76.{number}.0/30"):
        for which in ("root", "match"):
            routes = json.loads(run(["ip", "-j", "route", "show", "table", "all", "to", which, prefix]))
            if any(route["dst"] != "default" for route in routes):
                return True
    return False


def raise_network(namespace: str) -> int:
    """Make the router and give the lab's number. The link's name is the claim to it: it can be made only once."""
    _ip("netns", "add", namespace)
    for number in range(1, LABS):
        link = f"bundle-lab{number}"
        peer = ("peer", "name", "host", "netns", namespace)
        if not _taken(number) and _quietly("ip", "link", "add", link, "type", "veth", *peer):
            break
    else:
        raise Full(f"{LABS} labs run on this machine, or its routes leave no room in 10.77.0.0/16")
    here = f"10.76.{number}.1"
    _ip("addr", "add", f"{here}/30", "dev", link)
    _ip("link", "set", link, "up")
    _ip("addr", "add", f"10.76.{number}.2/30", "dev", "host", namespace=namespace)
    _ip("link", "add", "br0", "type", "bridge", namespace=namespace)
    _ip("addr", "add", f"{subnet(number)}.1/24", "dev", "br0", namespace=namespace)
    for name in ("lo", "host", "br0"):
        _ip("link", "set", name, "up", namespace=namespace)
    _ip("route", "add", f"{subnet(number)}.0/24", "via", f"10.76.{number}.2", "src", here)
    _sysctl(namespace, "ipv4/ip_forward", "1")
    if Path("/proc/sys/net/bridge").exists():  # what passes between nodes is no business of the router's
        _sysctl(namespace, "bridge/bridge-nf-call-iptables", "0")
    rules = RULES.replace("SUBNET", subnet(number))
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], input=rules, text=True, check=True)
    return number


def _sysctl(namespace: str, name: str, value: str) -> None:
    run(["ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} >/proc/sys/net/{name}"])


def wiring(lab: str, namespace: str, node: str, number: int, last: int) -> list[str]:
    """sh lines for a new namespace of a node, its eth0 on the lab's bridge: nothing of an earlier life is in it."""
    inside, mac = f"ip -n {namespace}", f"02:00:0a:4d:{number:02x}:{last:02x}"
    return [
        # The end on the bridge first: the kernel takes a namespace's links away some time after the namespace.
        f"ip -n {lab} link del {node} 2>/dev/null || :",
        f"ip netns del {namespace} 2>/dev/null || :",
        f"ip netns add {namespace}",
        f"{inside} link add eth0 address {mac} type veth peer name {node} netns {lab}",
        f"ip -n {lab} link set {node} master br0 up",
        f"{inside} addr add {subnet(number)}.{last}/24 brd + dev eth0",
        f"{inside} link set eth0 up",
        f"{inside} link set lo up",
        f"{inside} route add default via {subnet(number)}.1",
        f"ip netns exec {namespace} sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'",
    ]


def remove(namespace: str) -> None:
    _quietly("ip", "netns", "del", namespace)


def namespaces() -> list[str]:
    return [entry["name"] for entry in json.loads(run(["ip", "-j", "netns", "list"]) or "[]")]


def packets(namespace: str, *, reset: bool = False) -> dict[str, Any]:
    """What tried to leave since the lab was raised or this was reset: in all, questions for names, each try."""
    found = json.loads(run(["ip", "netns", "exec", namespace, "nft", "-j", "list", "table", "inet", "lab"]))["nftables"]
    counters = {each["counter"]["name"]: each["counter"]["packets"] for each in found if "counter" in each}
    sets = [each["set"].get("elem", []) for each in found if "set" in each]
    tried = [_attempt(element["elem"]) for elements in sets for element in elements]
    if reset:
        run(["ip", "netns", "exec", namespace, "nft", "reset", "counters"])
        for name in ("tried", "others"):
            run(["ip", "netns", "exec", namespace, "nft", "flush", "set", "inet", "lab", name])
    return {
        "left": counters["left"] + counters["left6"],
        "names": counters["names"],
        "tried": sorted(tried, key=lambda each: (each["from"], each["to"], each["port"])),
    }


def _attempt(element: dict[str, Any]) -> dict[str, Any]:
    source, target, protocol, *port = element["val"]["concat"]
    return {
        "from": source,
        "to": target,
        "protocol": protocol,
        "port": port[0] if port else 0,
        "packets": element["counter"]["packets"],
    }
