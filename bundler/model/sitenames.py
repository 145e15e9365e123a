"""Names that artifacts get on the site, and what must not share one. The lock and the site hold to the same rules."""

from collections.abc import Iterable

from bundler.errors import NameConflict
from bundler.model.digest import Digest
from bundler.model.reference import Reference, site_host

ARTIFACTS = "bundle"  # the site's repositories of what is no image: bundle/wheel, bundle/chart/NAME, …
COMPONENT = "main"  # of every apt archive
CHECKSUMS = "SHA256SUMS"


def site_archive(archive: str) -> str:
    """The archive that a role is published in: `debian-security` is part of `debian`."""
    return archive.removesuffix("-security")


def check_site_names(
    *,
    images: Iterable[tuple[Reference, Digest]] = (),
    charts: Iterable[tuple[str, str, Digest]] = (),
    debs: Iterable[tuple[str, str, str, Digest]] = (),
    files: Iterable[tuple[str, Digest]] = (),
) -> None:
    """Raise NameConflict where two artifacts would have one name on the site and differ.

    Images come with the digest that the reference names; charts as file name, canonical reference (which is empty for
    one that has none), digest; debs as archive, release, file name, digest; files as name and digest.
    """
    charts = tuple(charts)
    stored = ((Reference.parse(reference), digest) for _, reference, digest in charts if reference)
    check_image_names((*images, *stored))
    seen: dict[str, tuple[str, Digest]] = {}
    for name, _, digest in charts:
        _claim(seen, f"charts//{name}", f"the chart {name} ({digest})", digest)
    for archive, release, name, digest in debs:
        place = f"{site_archive(archive)}/{release}/{name}"
        _claim(seen, place, f"{name} of {archive} ({digest})", digest)
    for name, digest in files:
        if name == CHECKSUMS:
            raise NameConflict(name=name, first=f"the file {name}", second="the list of checksums")
        _claim(seen, f"files//{name}", f"the file {name} ({digest})", digest)


def chart_tag(version: str) -> str:
    """A version as a tag, the way Helm writes it."""
    return version.replace("+", "_")


def check_image_names(images: Iterable[tuple[Reference, Digest]]) -> None:
    """Two hosts under one name, one name and tag for two digests, a host named like our own repositories."""
    hosts: dict[str, str] = {}
    tags: dict[str, tuple[str, Digest]] = {}
    for reference, root in images:
        host = site_host(reference.registry)
        known = hosts.setdefault(host, reference.registry)
        if known.lower() != reference.registry.lower():
            raise NameConflict(name=host, first=f"the registry {known}", second=f"the registry {reference.registry}")
        if host == ARTIFACTS:
            raise NameConflict(name=host, first=f"the registry {reference.registry}", second="the site's own artifacts")
        if reference.tag:
            _claim(tags, f"{reference.site_repository}:{reference.tag}", f"{reference} ({root})", root)


def _claim(seen: dict[str, tuple[str, Digest]], name: str, owner: str, digest: Digest) -> None:
    first, known = seen.setdefault(name, (owner, digest))
    if known != digest:
        raise NameConflict(name=name, first=first, second=owner)
