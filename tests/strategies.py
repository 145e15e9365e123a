"""Values of the model as hypothesis makes them. Equal digests have equal sizes, so a lock agrees with itself."""

import json
import string
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from bundler.archive.draft import draft_of
from bundler.model.asked import Asked, AskedChart, LockedTarget, PackageRole
from bundler.model.component import Silence, ToolRequest, Variant
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import (
    METADATA_TYPE,
    ChartDependency,
    Lock,
    LockedBootstrap,
    LockedChart,
    LockedDeb,
    LockedFile,
    LockedImage,
    LockedWheel,
)
from bundler.model.platform import Platform
from bundler.model.profile import Release
from bundler.model.reference import Reference
from bundler.model.statement import Statement
from tests.bundles import ALICE, BOB

_ALNUM = string.ascii_letters + string.digits
_LOWER = string.ascii_lowercase + string.digits


def fewer(part: int) -> settings:
    """So many times fewer examples than the profile asks for, for what is slow to make."""
    return settings(max_examples=max(10, settings().max_examples // part))


def _text(alphabet: str, least: int = 0, most: int = 8) -> SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


def printable(least: int = 0, most: int = 20) -> SearchStrategy[str]:
    """Any printable text, much of it outside ASCII."""
    return st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=least, max_size=most)


def size_of(digest: Digest) -> int:
    return int(digest.hex[:4], 16)


digests = st.integers(0, 30).map(lambda seed: Digest.of(bytes([seed])))
labels = st.builds(
    lambda first, rest, last: first + rest + last, *(_text(_LOWER, 1, 3), _text(_LOWER + ".-"), _text(_LOWER, 1, 1))
)
segments = st.builds(str.__add__, _text(_ALNUM, 1, 1), _text(_ALNUM + "._+~-"))
versions = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
pythons = st.sampled_from(["3.9", "3.10", "3.11", "3.12"])
releases = st.builds(Release, line=labels, number=st.integers(0, (1 << 53) - 1))
platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64", "arm", "riscv64"]),
    st.sampled_from(["", "v7", "v8", "v9.1"]),
)

hosts = st.sampled_from(
    ["docker.io", "quay.io", "localhost", "localhost:5000", "a.b-c.example:65535", "[::1]:5000", "HOST"]
)
_component = st.builds(
    lambda parts, marks: "".join(part + mark for part, mark in zip(parts, [*marks, ""], strict=True)),
    *(
        st.lists(_text(_LOWER, 1, 4), min_size=2, max_size=2),
        st.sampled_from([".", "_", "__", "-", "---"]).map(lambda m: [m]),
    ),
)
repositories = st.lists(_component, min_size=2, max_size=3).map("/".join)
tags = st.builds(str.__add__, _text(_ALNUM + "_", 1, 1), _text(_ALNUM + "_.-", 0, 12))


def _reference(host: str, repository: str, tag: str, digest: Digest | None) -> Reference:
    return Reference(registry=host, repository=repository, tag=tag if tag or digest else "latest", digest=digest)


references = st.builds(_reference, hosts, repositories, st.just("") | tags, st.none() | digests)


def descriptors(*media_types: str) -> SearchStrategy[Descriptor]:
    return st.builds(
        lambda media_type, digest: Descriptor(media_type=media_type, digest=digest, size=size_of(digest)),
        *(st.sampled_from(media_types), digests),
    )


def _some(values: SearchStrategy[Any], **unique: Any) -> SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=2, **unique).map(tuple)


_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
manifests = descriptors(f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
image_blobs = descriptors(
    f"{_OCI}.config.v1+json",
    f"{_OCI}.layer.v1.tar+zstd",
    f"{_DOCKER}.container.image.v1+json",
    "application/vnd.oci.empty.v1+json",
)
images = st.builds(
    LockedImage,
    reference=references,
    root=manifests,
    manifests=_some(manifests),
    blobs=_some(image_blobs),
    referrers=_some(manifests),
    source=st.sampled_from(["", "oci:layout", "docker-daemon:app:1"]),
)


def _sized(make: type[Any], **facts: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """`make` of these facts, and a digest with its size."""
    return st.builds(
        lambda digest, facts: make(digest=digest, size=size_of(digest), **facts), digests, st.fixed_dictionaries(facts)
    )


wheels = _sized(
    LockedWheel,
    project=segments,
    version=versions,
    file=segments,
    metadata=descriptors(METADATA_TYPE),
    pythons=st.lists(pythons, unique=True, max_size=2).map(tuple),
    requires=_some(st.builds("Requires-Dist: {}".format, printable(1).filter(str.strip))),
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
values = st.dictionaries(st.text(max_size=3), _json, max_size=2).map(
    lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"))
)
_repositories = st.sampled_from(["https://charts.example/stable", "oci://registry.example/charts", "file:web"])
chart_names = repositories.map(lambda path: path.rpartition("/")[2].replace("_", "-"))
dependencies = _sized(ChartDependency, name=chart_names, version=segments, url=st.just("https://charts.example/a.tgz"))
charts = _sized(
    LockedChart,
    chart=chart_names,
    version=segments.map(lambda text: text.replace("~", "-")),
    repository=_repositories,
    url=st.sampled_from(["", "https://charts.example/web-1.tgz"]),
    metadata=values,
    provenance=st.none() | descriptors("application/vnd.cncf.helm.chart.provenance.v1.prov"),
    manifest=st.none() | manifests,
    config=st.none() | descriptors("application/vnd.cncf.helm.config.v1+json"),
    dependencies=_some(dependencies, unique_by=lambda each: each.name),
)
variants = st.builds(Variant, name=labels, values=values)
asked = st.builds(
    Asked,
    component=labels,
    version=st.just("") | labels,
    images=_some(references, unique=True),
    revealed=_some(references, unique=True),
    charts=_some(
        st.builds(
            AskedChart,
            chart=chart_names,
            version=segments,
            release=labels,
            namespace=labels,
            values=values,
            variants=_some(variants, unique_by=lambda variant: variant.name),
        ),
        unique_by=lambda chart: chart.release,
    ),
    wheels=_some(st.sampled_from(["numpy>=2", "a[b]==1; python_version < '3.12'"]), unique=True),
    packages=_some(st.sampled_from(["nginx", "libc6:amd64=2.36-9"]), unique=True),
    files=_some(segments, unique=True),
    provides=st.dictionaries(labels, versions, max_size=2).map(lambda pairs: tuple(sorted(pairs.items()))),
    tools=st.sampled_from([(), (("helm", ToolRequest(file="helm.tgz", member="linux-amd64/helm")),)]),
    silences=_some(
        st.builds(Silence, image=printable(1).filter(str.strip), reason=st.just("a test")),
        unique_by=lambda each: each.image,
    ),
)
_field = st.builds("{}: {}".format, _text(string.ascii_letters, 1, 4), printable())
_more = st.builds("{}{}".format, st.sampled_from([" ", "\t"]), printable(1).filter(str.strip))
controls = st.builds(lambda first, rest: "\n".join([first, *rest]), _field, st.lists(_field | _more, max_size=2))
debs = _sized(
    LockedDeb,
    package=segments,
    version=st.builds(str.__add__, st.sampled_from(["", "1:"]), segments),
    architecture=labels,
    archive=labels,
    suite=labels,
    release=labels,
    path=st.lists(segments, min_size=1, max_size=3).map("/".join),
    control=controls,
)
files = _sized(
    LockedFile,
    name=segments,
    url=st.builds(
        "{}{}".format, st.sampled_from(["https://files.example/", "file:"]), _text(_ALNUM + "/%?=&~'\"\\", 1)
    ).filter(lambda url: not url.startswith("file:") or ("?" not in url and "" not in url[5:].split("/"))),
)
package_names = st.sampled_from(["nginx", "g++", "libc6=1:2.36-9+deb12u1", "libc6:amd64"])
targets = st.builds(
    LockedTarget,
    archive=labels,
    release=labels,
    architecture=labels,
    base=_some(package_names),
    installed=st.booleans(),
    chosen=st.dictionaries(package_names, package_names, max_size=2).map(lambda pairs: tuple(sorted(pairs.items()))),
    roles=_some(
        st.builds(PackageRole, role=st.just("") | labels, names=_some(package_names)),
        unique_by=lambda role: role.role,
    ),
)
locks = st.builds(
    Lock,
    profile=labels,
    release=releases,
    platforms=st.lists(platforms, min_size=1, max_size=2, unique=True).map(tuple),
    bootstrap=st.builds(
        LockedBootstrap,
        pythons=st.lists(pythons, unique=True, max_size=2).map(tuple),
        wheels=_some(wheels, unique_by=lambda wheel: wheel.name),
    ),
    images=_some(images, unique_by=lambda image: image.name),
    wheels=_some(wheels, unique_by=lambda wheel: wheel.name),
    debs=_some(debs, unique_by=lambda deb: (deb.archive, deb.release, deb.name)),
    files=_some(files, unique_by=lambda file: file.name),
    glibc=st.sampled_from(["manylinux2014", "manylinux_2_36"]),
    constraints=_some(st.just("numpy<3")),
    asked=_some(asked, unique_by=lambda each: each.name),
    targets=_some(targets, unique_by=lambda target: target.name),
    charts=_some(charts, unique_by=lambda chart: chart.name),
)
signers = st.sampled_from([(), (ALICE.public,), (BOB.public, ALICE.public)])


def _statement(lock: Lock, keys: Any) -> Statement:
    return draft_of(lock, sources={"__main__.py": b""}, signers=keys).finished(Digest.of(b""))


statements = st.builds(_statement, locks, signers)
