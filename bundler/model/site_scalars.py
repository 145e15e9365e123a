"""Single values of `site.yaml`, each read in one place."""

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from bundler.errors import Malformed
from bundler.model.document import parse_integer
from bundler.model.site import ROLES, Address, Subnet

HOST_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# No all-numeric last label (RFC 3696 section 2): it would read as an address.
DOMAIN_NAME = rf"(?:{HOST_NAME}\.)*(?![0-9]+$){HOST_NAME}"
USER = r"[A-Za-z_][A-Za-z0-9._@-]{0,63}"
DEVICE = r"/dev(?:/[A-Za-z0-9_][A-Za-z0-9._:@+=,-]*)+"
SIZE = r"[1-9][0-9]{0,11}(?:[kMGTP]|[KMGTP]i)"  # as Kubernetes writes quantities
INTERFACE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"  # IFNAMSIZ, less the NUL
LONGEST_DOMAIN = 189  # 253 (RFC 1035 section 3.1) less the longest host name and its dot
MTU = (1280, 65535)  # the least that IPv6 takes (RFC 8200 section 5); the most that an IP packet is
# How many fields the key of each type has after its name: RFC 8709, RFC 5656, RFC 4253.
HOST_KEYS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
}
_KEY_EXPECTED = "TYPE BASE64, as in /etc/ssh/ssh_host_ed25519_key.pub of the host"
_JUMP_EXPECTED = "the name of a host here, or [user@]ADDRESS[:PORT]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """What a host is reached through: `host` is another's name, an address or a DNS name; None is the usual port."""

    host: str
    user: str = ""
    port: int | None = None


def parse_address(text: str) -> Address:
    """An IPv4 or IPv6 address that a machine can have. Raises Malformed."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Malformed(found=repr(text[:80]), expected="an IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise Malformed(found=repr(text[:80]), expected="an address without a zone")
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if address.is_unspecified or address.is_multicast or mapped or (address.version == 4 and address.is_reserved):
        raise Malformed(found=repr(text[:80]), expected="an address that a machine can have")
    return address


def parse_subnet(text: str) -> Subnet:
    """`ADDRESS/LENGTH` without host bits. Raises Malformed."""
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        raise Malformed(found=repr(text[:80]), expected="a subnet such as 10.77.0.0/24") from None
    address, slash, length = text.partition("/")
    if not (slash and length.isdigit()) or "%" in text or subnet.prefixlen == 0:
        raise Malformed(found=repr(text[:80]), expected="a subnet such as 10.77.0.0/24")
    if ip_address(address) != subnet.network_address:
        raise Malformed(found=repr(text[:80]), expected=f"the subnet's own address: {subnet}")
    return subnet


def check_host_name(text: str) -> str:
    """One label of a DNS name, lower case (RFC 1123 section 2.1). Raises Malformed."""
    if not is_host_name(text) or text == "localhost":
        raise Malformed(found=repr(text[:80]), expected="a name of [a-z0-9-], 63 characters at most, without dots")
    return text


def is_host_name(text: str) -> bool:
    return re.fullmatch(HOST_NAME, text) is not None


def check_domain(text: str) -> str:
    """A DNS name, lower case, without the last dot; none that Kubernetes has for itself. Raises Malformed."""
    if len(text) > LONGEST_DOMAIN or not re.fullmatch(DOMAIN_NAME, text) or text == "localhost":
        raise Malformed(found=repr(text[:80]), expected="a DNS name such as lab.example, lower case")
    if f".{text}".endswith(".cluster.local"):
        raise Malformed(found=repr(text[:80]), expected="another domain: cluster.local is that of Kubernetes")
    return text


def check_role(text: str) -> str:
    if text not in ROLES:
        raise Malformed(found=f"the role {text[:40]!r}", expected=f"one of {', '.join(ROLES)}")
    return text


def check_user(text: str) -> str:
    return _matching(text, USER, "the name of a user")


def check_device(text: str) -> str:
    if len(text) > 255:
        raise Malformed(found=repr(text[:80]), expected="a device such as /dev/nvme1n1")
    return _matching(text, DEVICE, "a device such as /dev/nvme1n1")


def check_size(text: str) -> str:
    """Raises Malformed."""
    return _matching(text, SIZE, "a size such as 3500Gi")


def check_interface(text: str) -> str:
    return _matching(text, INTERFACE, "the name of a network interface, 15 characters at most")


def parse_port(text: str) -> int:
    if not 1 <= parse_integer(text) <= 65535:
        raise Malformed(found=repr(text[:40]), expected="a port from 1 to 65535")
    return int(text)


def parse_mtu(text: str) -> int:
    least, most = MTU
    if not least <= parse_integer(text) <= most:
        raise Malformed(found=repr(text[:40]), expected=f"an MTU from {least} to {most} bytes")
    return int(text)


def parse_host_key(text: str) -> str:
    """`TYPE BASE64` of a host's public key; a comment after it is dropped. Raises Malformed."""
    if "PRIVATE" in text:
        raise Malformed(found="a private key", expected=f"the public one: {_KEY_EXPECTED}")
    kind, _, rest = text.partition(" ")
    encoded = rest.partition(" ")[0]
    if kind not in HOST_KEYS or not text.isprintable() or len(encoded) > 8192:
        raise Malformed(found=_shown_key(text), expected=_KEY_EXPECTED)
    try:
        fields = _strings(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error):
        raise Malformed(found=f"{_shown_key(text)}, which is cut or damaged", expected=_KEY_EXPECTED) from None
    if fields[0] != kind.encode():
        inner = fields[0][:40].decode("ascii", "replace")
        raise Malformed(found=f"a host key of type {inner!r} behind the name {kind}", expected=_KEY_EXPECTED)
    if len(fields) != 1 + HOST_KEYS[kind] or not all(fields) or (kind == "ssh-ed25519" and len(fields[1]) != 32):
        raise Malformed(found=f"{_shown_key(text)}, which is cut or damaged", expected=_KEY_EXPECTED)
    return f"{kind} {encoded}"


def check_jump(text: str) -> str:
    parse_jump(text)
    return text


def parse_jump(text: str) -> Jump:
    """What a host is reached through, from `jump`; an IPv6 address with a port stands in brackets. Raises Malformed."""
    if is_host_name(text):
        return Jump(host=text)
    user, at, place = text.rpartition("@")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::([0-9]+))?", place)
    bare = re.fullmatch(r"([^:\[\]]*)(?::([0-9]+))?", place)
    match = bracketed or bare
    host, port = (match[1], match[2]) if match else (place, None)
    try:
        if at:
            check_user(user)
        if "." in host and not bracketed and not re.fullmatch(r"[0-9.]+", host):
            check_domain(host)
        else:
            parse_address(host)
        return Jump(host=host, user=user, port=None if port is None else parse_port(port))
    except Malformed:
        raise Malformed(found=repr(text[:80]), expected=_JUMP_EXPECTED) from None


def _matching(text: str, pattern: str, expected: str) -> str:
    if not re.fullmatch(pattern, text):
        raise Malformed(found=repr(text[:80]), expected=expected)
    return text


def _strings(data: bytes) -> list[bytes]:
    """The strings of an SSH blob, each after its length (RFC 4251 section 5). Raises ValueError."""
    found: list[bytes] = []
    at = 0
    while at < len(data) or not found:
        size = int.from_bytes(data[at : at + 4])
        if len(data) < at + 4 + size:
            raise ValueError
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _shown_key(text: str) -> str:
    return f"the host key {text[:40]!r}"
