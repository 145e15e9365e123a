"""Sites for tests: a whole one, and a table of components whose settings are small."""

from typing import Any

from bundler.model.document import Fields
from bundler.model.json_schema import Schema, flag, listing, number, record, text
from bundler.model.site_parser import SettingsParser
from bundler.model.site_scalars import parse_address, parse_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsFhVpsmkvBFv1wf3fxjrr8XWVyvoR7D1tApGuONzFD"
SITE = f"""\
site: lab
domain: lab.example
hosts:
- name: node1
  address: 10.77.0.11
  roles: [site, control-plane]
  local: true
- name: node2
  address: 10.77.0.12
  roles: [worker, gpu]
  user: admin
  port: 2222
  become: true
  jump: node3
  host_key: {KEY} root@node2
  disks:
  - {{device: /dev/nvme1n1, use: ceph}}
  - {{device: /dev/disk/by-id/nvme-eui.0025385b2140b0f3, use: seaweedfs}}
  nics: {{storage: ens2f0, front: bond0.100}}
- name: node3
  address: fd77::13
  roles: []
  jump: "root@[fd77:1::1]:2222"
networks:
- {{name: main, subnet: 10.77.0.0/24, mtu: 1500}}
- {{name: six, subnet: "fd77::/64"}}
vips: {{api: 10.77.0.100, ingress: "fd77::100"}}
components:
  registry: {{port: 5001}}
"""
SMALL = "site: s\ndomain: s.example\nhosts:\n- {name: a, address: 10.0.0.1, roles: [site]%s}\n"
TAKEN = (  # what may stand in the hole of SMALL
    "local: true",
    "user: root, become: true",
    "user: ops.team@corp.example, become: true",
    "jump: 192.168.0.1",
    "jump: admin@bastion.corp.example",
    "jump: bastion.corp.example:2222",
    'jump: "fd00::1"',
    'jump: "admin@[fd00::1]:2222"',
    f"host_key: {KEY}",
    "disks: [{device: /dev/disk/by-path/pci-0000:00:1f.2-ata-1, use: ceph}]",
    "nics: {}",
)


def _registry(fields: Fields) -> tuple[int, bool]:
    return (fields.value("port", parse_port, default=5000), fields.flag("writable", default=False))


def _time(fields: Fields) -> Any:
    return fields.build(list, fields.values("servers", parse_address, optional=True))


COMPONENTS: dict[str, SettingsParser] = {"registry": _registry, "time": _time}
SCHEMAS: dict[str, Schema] = {
    "registry": record("The registry.", {"port": number("Its port.", 1, 65535), "writable": flag("Whether it is.")}),
    "time": record("The clocks.", {"servers": listing("Where the time comes from.", text("An address.", "[0-9.]+"))}),
}
