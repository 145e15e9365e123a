"""JSON schemas of the manifests (draft 2020-12), for editors: completion, descriptions, and most errors as one types.

The parsers (bundler.model.component, bundler.model.profile) decide; what a schema cannot say, such as a name given
twice, is theirs alone. `manifests/schema/` holds these schemas as files.
"""

import json

from bundler.model.json_schema import DRAFT, LABEL, Schema, flag, label, listing, named, number, record, text, word


def write_schema(kind: str) -> str:
    """The schema of `component` or `profile` manifests as JSON text."""
    return json.dumps({"component": _component, "profile": _profile}[kind](), indent=2, ensure_ascii=False) + "\n"


_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._+~-]*"
_REFERENCE = r"[A-Za-z0-9\[][^\s@#?\\]*(?:@sha256:[a-f0-9]{64})?"
_HTTP = r"https?://[!-\x22$-.0->A-~]+/[!-\x22$-~]*"  # printable ASCII; no `#`, and a host without `/`, `?`, `@`
_BELOW = r"file:(?!\.{0,2}(?:/|$))(?!\S*/\.{0,2}(?:/|$))[^\s#?]+"
_VERSION = "[!-~]+"


def _line(description: str) -> Schema:
    return text(description, r"[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*", longest=1000)


def _file(description: str) -> Schema:
    return word(description, _BELOW, longest=2048)


def _url(description: str) -> Schema:
    return word(description, f"{_HTTP}|{_BELOW}", longest=2048)


def _free(description: str) -> Schema:
    return {"description": description, "type": "object"}


def _object(description: str, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """A mapping of known keys; one that is a word of Python ends in `_`."""
    return record(description, {name.removesuffix("_"): schema for name, schema in properties.items()}, required)


_LICENSE = word(
    "Only where the licence restricts passing the bytes on: its name, which a profile must then accept.", _SEGMENT
)
_REQUIREMENT = word(
    "A requirement (PEP 508), without a URL.",
    r"(?!.*://)[A-Za-z0-9][^@\\#\x00-\x1f\x7f]*",
    longest=10000,
    examples=["numpy>=2"],
)


def _image() -> Schema:
    reference = word(
        "A full image reference.",
        _REFERENCE,
        longest=512,
        examples=["quay.io/prometheus/node-exporter:v1.9.1"],
    )
    whole = _object(
        "An image that no chart shows, or one with terms of its own.",
        ("reference",),
        reference=reference,
        from_=word(
            "Where it comes from when it is no registry.",
            rf"(?:oci|docker-archive):{_BELOW.removeprefix('file:')}|docker-daemon:\S+",
            longest=2048,
        ),
        referrers=flag("Carry its signatures and attestations."),
        license=_LICENSE,
    )
    return {"description": "A reference, or a mapping with more about it.", "anyOf": [reference, whole]}


def _chart() -> Schema:
    return _object(
        "A Helm chart.",
        ("chart", "repository"),
        chart=label("The chart's name."),
        repository=word(
            "An HTTP repository, oci://HOST/PATH without the chart's name, or file:PATH below charts/.",
            rf"https?://[^\s?#@]+|oci://[^\s/?#@]+/[^\s?#@]+|{_BELOW}",
            longest=2048,
        ),
        version=_line("A version or a range, as Helm reads it. Without one the newest."),
        release=label("The release's name. Without one the chart's."),
        namespace=label("The namespace. Without one `default`."),
        values=_free("Values that it is rendered with; a profile's are laid over them."),
        variants=named(
            "Other values that a site may choose, each rendered when the closure is proved.", _free("Values.")
        ),
        keyring=_file("Keys for the chart's provenance, below files/."),
        license=_LICENSE,
    )


def _packages() -> Schema:
    one = _object(
        "A set of packages.",
        ("format", "names"),
        format={"description": "deb; rpm is not built yet.", "enum": ["deb"]},
        names=listing(
            "Package names, NAME=VERSION, or names with {kernel} for each of the profile's kernels.",
            word("A name.", r"[a-z0-9{][A-Za-z0-9+.:=~{}-]+", longest=10000),
        ),
        roles=listing("Only hosts with one of these roles. Without them every host.", label("A role.")),
        releases=listing("Only these releases. Without them all.", label("A release.")),
    )
    return {"description": "OS packages.", "anyOf": [one, listing("Several sets.", one)]}


def _file_entry() -> Schema:
    checksums = _object(
        "The vendor's list of checksums.",
        ("url",),
        url=_url("Its URL."),
        signature=_url("A detached OpenPGP signature over it."),
        keyring=_file("The keys that may have made the signature, below files/."),
    )
    checksums["dependentRequired"] = {"signature": ["keyring"]}
    return _object(
        "A file.",
        ("name", "url"),
        name=word("Its name on the site.", _SEGMENT),
        url=_url("http(s), or file:PATH below files/."),
        digest=word("What it is.", "sha256:[0-9a-f]{64}"),
        checksums=checksums,
        license=_LICENSE,
    )


def _content() -> dict[str, Schema]:
    tool = _object(
        "A carried program.",
        ("file",),
        file=word("The name of a file of this component.", _SEGMENT),
        member=word(
            "Its path inside that file, when the file is a tar.", r"[A-Za-z0-9][A-Za-z0-9._+~/-]*", longest=1024
        ),
    )
    silence = _object(
        "A finding that is known to be false.",
        ("image", "reason"),
        image=_line("The image as the finding names it."),
        reason=_line("Why it is false."),
    )
    fact = _object(
        "Something that this manifest relies on.",
        ("fact", "source"),
        fact=_line("What."),
        source=_line("Where it can be read, or how it was tried."),
    )
    return {
        "images": listing("Images that no chart shows.", _image()),
        "charts": listing("Helm charts.", _chart()),
        "wheels": listing("Python requirements.", _REQUIREMENT),
        "packages": _packages(),
        "files": listing("Files by URL.", _file_entry()),
        "provides": named("Versions by which components are matched with one another.", text("A version.", _VERSION)),
        "tools": {
            **named("Programs that the proof of completeness runs.", tool),
            "propertyNames": {"enum": ["helm", "kubeadm", "cephadm"]},
        },
        "silence": listing("Findings of the proof that are known to be false.", silence),
        "facts": listing("What this relies on, with its sources.", fact),
    }


def _component() -> Schema:
    content = {name: {"$ref": f"#/$defs/{name}"} for name in _content()}
    version = {"description": "What this version needs besides.", "type": "object", "properties": content}
    return {
        "$schema": DRAFT,
        "title": "A component of a site",
        "$defs": _content(),
        **_object(
            "What one part of a site needs. What stands at the top is of all versions.",
            ("component",),
            component=label("The component's name, which is the file's too."),
            about=_line("What it is, in one line."),
            **content,
            versions=named("What each version needs besides.", {**version, "additionalProperties": False}),
        ),
    }


def _profile() -> Schema:
    python = text("A Python version.", r"3\.(?:[89]|[1-9][0-9])", examples=["3.11"])
    choice = word(
        "NAME, or NAME@VERSION.",
        f"{LABEL}(?:@{LABEL})?",
        longest=127,
    )
    extra = _object(
        "A further archive.",
        ("archive", "suite", "keyring"),
        archive=label("Its role."),
        suite=word("A suite, or a path that ends in a slash.", r"(?!.*\.\.)[A-Za-z0-9./_-]+", longest=120),
        components=listing("Its parts.", label("A part.")),
        keyring=_file("Its keys, below files/."),
    )
    target = _object(
        "A release that OS packages are for.",
        ("archive", "release"),
        archive=label("The archive by its role: debian, ubuntu."),
        release=label("Its release name."),
        components=listing("The archive's parts. Without them those that this machine's apt has.", label("A part.")),
        also=listing("Further archives.", extra),
        status=_file("A host's dpkg status file, below files/: what it lists need not be carried."),
    )
    return {
        "$schema": DRAFT,
        "title": "A profile",
        **_object(
            "Which components a site has, in which versions, and for which machines.",
            ("profile", "release", "platforms", "bootstrap", "components"),
            profile=label("The profile's name, which is the file's too."),
            about=_line("What it is, in one line."),
            release=_object(
                "The release that bundles of this profile are.",
                ("line", "number"),
                line=label("The line of releases."),
                number=number("Grows with each release.", 0, 2**53 - 1),
            ),
            platforms=listing(
                "Platforms of images.",
                word("os/architecture[/variant].", r"[a-z0-9][a-z0-9_.]*(?:/[a-z0-9][a-z0-9_.]*){1,2}"),
            ),
            glibc=word("The oldest among the hosts, as wheels name it.", r"manylinux_2_[1-9][0-9]|manylinux2014"),
            bootstrap=_object(
                "What may run the tool on the site.", ("python",), python=listing("Python versions.", python)
            ),
            python=listing("Python versions that wheels are for.", python),
            constraints=listing("Bounds on projects that somebody else asks for.", _REQUIREMENT),
            packages={"description": "Releases that packages are for.", "anyOf": [target, listing("Several.", target)]},
            kernels=listing("The hosts' kernels, as uname -r says.", text("A kernel.", _VERSION)),
            components=listing("What the site has.", choice),
            values=named("Values laid over those of charts, by release name.", _free("Values.")),
            accept_license=listing(
                "Licences that restrict redistribution and are accepted.", word("The name of a licence.", _SEGMENT)
            ),
        ),
    }
