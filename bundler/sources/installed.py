"""What a host has installed, by its dpkg status file, and what of that the carried packages rest on."""

from collections.abc import Iterable, Sequence

from bundler.sources.control import Stanza, stanzas
from bundler.sources.relations import Offer, Offers, Relation, offer_of


def installed(status: str) -> tuple[Stanza, ...]:
    """The stanzas of packages that are unpacked and configured."""
    found = stanzas(status.splitlines())
    return tuple(stanza for stanza in found if stanza.get("Status", "").split()[-1:] == ["installed"])


def needed_of(host: Sequence[Stanza], relations: Iterable[Relation]) -> tuple[str, ...]:
    """What of a host the relations rest on, as the lock says it: `NAME=VERSION`, and `NAME` for a provided name that
    has no version."""
    offers = Offers(map(offer_of, host))
    found: set[str] = set()
    for relation in relations:
        for offer in offers.meeting(relation):
            named = ((offer.package, offer.version), *offer.provides)
            found.update(f"{name}={version}" if version else name for name, version in named if name in relation.names)
    return tuple(sorted(found))


def base_offers(base: Iterable[str]) -> tuple[Offer, ...]:
    """`needed_of` read back."""
    return tuple(_offer(text) for text in base)


def base_status(base: Iterable[str], architecture: str) -> str:
    """The same as a dpkg status file: a package for each name, so that apt finds the base in place."""
    lines = []
    for offer in base_offers(base):
        fields = {
            "Package": offer.package if offer.version else f"provides-{offer.package}",
            "Status": "install ok installed",
            "Maintainer": "bundle",
            "Architecture": architecture,
            "Multi-Arch": "allowed",
            "Version": offer.version or "0",
            "Provides": ", ".join(name for name, _ in offer.provides),
            "Description": "of the base",
        }
        lines.append("".join(f"{name}: {value}\n" for name, value in fields.items() if value))
    return "\n".join(lines)


def _offer(text: str) -> Offer:
    name, _, version = text.partition("=")
    return Offer(package=name, version=version, provides=() if version else ((name, ""),))
