"""JSON schemas of the manifests (draft 2020-12), for editors: completion, descriptions, and most errors as one types.

The parsers (bundler.model.component, bundler.model.profile) decide; what a schema cannot say, such as a name given
twice, is theirs alone. `manifests/schema/` holds these schemas as files.
"""

import json
from typing import Any

Schema = dict[str, Any]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def write_schema(kind: str) -> str:
    """The schema of `component` or `profile` manifests as JSON text."""
    return json.dumps({"component": _component, "profile": _profile}[kind](), indent=2, ensure_ascii=False) + "\n"


def _text(description: str, pattern: str, *, longest: int = 255, **more: Any) -> Schema:
    # A bare 1.28 is a number to an editor, and text to the parser.
    return {
        "description": description,
        "type": ["string", "number"],
        "pattern": pattern,
        "maxLength": longest,
        **more,
    }


def _word(description: str, pattern: str, **more: Any) -> Schema:
    return {**_text(description, pattern, **more), "type": "string"}


_LABEL = r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$"
_SEGMENT = r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$"
_REFERENCE = r"^[A-Za-z0-9\[][^\s@#?\\]*(?:@sha256:[a-f0-9]{64})?$"
_HTTP = r"https?://[!-\x22$-.0->A-~]+/[!-\x22$-~]*"  # printable ASCII; no `#`, and a host without `/`, `?`, `@`
_BELOW = r"file:(?!\.{0,2}(?:/|$))(?!\S*/\.{0,2}(?:/|$))[^\s#?]+"
_VERSION = "^[!-~]+$"


def _label(description: str) -> Schema:
    return _text(description, _LABEL, longest=63)


def _line(description: str) -> Schema:
    return _text(description, r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$", longest=1000)


def _file(description: str) -> Schema:
    return _word(description, f"^{_BELOW}$", longest=2048)


def _url(description: str) -> Schema:
    return _word(description, f"^(?:{_HTTP}|{_BELOW})$", longest=2048)


def _list(description: str, items: Schema) -> Schema:
    return {"description": description, "type": "array", "items": items}


def _free(description: str) -> Schema:
    return {"description": description, "type": "object"}


def _map(description: str, keys: str, values: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": keys, "maxLength": 63},
        "additionalProperties": values,
    }


def _object(description: str, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": list(required),
        "properties": {name.removesuffix("_"): schema for name, schema in properties.items()},
        "additionalProperties": False,
    }


_LICENSE = _word(
    "Only where the licence restricts passing the bytes on: its name, which a profile must then accept.", _SEGMENT
)
_REQUIREMENT = _word(
    "A requirement (PEP 508), without a URL.",
    r"^(?!.*://)[A-Za-z0-9][^@\\#\x00-\x1f\x7f]*$",
    longest=10000,
    examples=["numpy>=2"],
)


def _image() -> Schema:
    reference = _word(
        "A full image reference.",
        _REFERENCE,
        longest=512,
        examples=["quay.io/prometheus/node-exporter:v1.9.1"],
    )
    whole = _object(
        "An image that no chart shows, or one with terms of its own.",
        ("reference",),
        reference=reference,
        from_=_word(
            "Where it comes from when it is no registry.",
            rf"^(?:(?:oci|docker-archive):{_BELOW.removeprefix('file:')}|docker-daemon:\S+)$",
            longest=2048,
        ),
        referrers={"description": "Carry its signatures and attestations.", "type": "boolean"},
        license=_LICENSE,
    )
    return {"description": "A reference, or a mapping with more about it.", "anyOf": [reference, whole]}


def _chart() -> Schema:
    return _object(
        "A Helm chart.",
        ("chart", "repository"),
        chart=_label("The chart's name."),
        repository=_word(
            "An HTTP repository, oci://HOST/PATH without the chart's name, or file:PATH below charts/.",
            rf"^(?:https?://[^\s?#@]+|oci://[^\s/?#@]+/[^\s?#@]+|{_BELOW})$",
            longest=2048,
        ),
        version=_line("A version or a range, as Helm reads it. Without one the newest."),
        release=_label("The release's name. Without one the chart's."),
        namespace=_label("The namespace. Without one `default`."),
        values=_free("Values that it is rendered with; a profile's are laid over them."),
        variants=_map(
            "Other values that a site may choose, each rendered when the closure is proved.", _LABEL, _free("Values.")
        ),
        keyring=_file("Keys for the chart's provenance, below files/."),
        license=_LICENSE,
    )


def _packages() -> Schema:
    one = _object(
        "A set of packages.",
        ("format", "names"),
        format={"description": "deb; rpm is not built yet.", "enum": ["deb"]},
        names=_list(
            "Package names, NAME=VERSION, or names with {kernel} for each of the profile's kernels.",
            _word("A name.", r"^[a-z0-9{][A-Za-z0-9+.:=~{}-]+$", longest=10000),
        ),
        roles=_list("Only hosts with one of these roles. Without them every host.", _label("A role.")),
        releases=_list("Only these releases. Without them all.", _label("A release.")),
    )
    return {"description": "OS packages.", "anyOf": [one, _list("Several sets.", one)]}


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
        name=_word("Its name on the site.", _SEGMENT),
        url=_url("http(s), or file:PATH below files/."),
        digest=_word("What it is.", "^sha256:[0-9a-f]{64}$"),
        checksums=checksums,
        license=_LICENSE,
    )


def _content() -> dict[str, Schema]:
    tool = _object(
        "A carried program.",
        ("file",),
        file=_word("The name of a file of this component.", _SEGMENT),
        member=_word(
            "Its path inside that file, when the file is a tar.", r"^[A-Za-z0-9][A-Za-z0-9._+~/-]*$", longest=1024
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
        "images": _list("Images that no chart shows.", _image()),
        "charts": _list("Helm charts.", _chart()),
        "wheels": _list("Python requirements.", _REQUIREMENT),
        "packages": _packages(),
        "files": _list("Files by URL.", _file_entry()),
        "provides": _map(
            "Versions by which components are matched with one another.", _LABEL, _text("A version.", _VERSION)
        ),
        "tools": {
            **_map("Programs that the proof of completeness runs.", _LABEL, tool),
            "propertyNames": {"enum": ["helm", "kubeadm", "cephadm"]},
        },
        "silence": _list("Findings of the proof that are known to be false.", silence),
        "facts": _list("What this relies on, with its sources.", fact),
    }


def _component() -> Schema:
    content = {name: {"$ref": f"#/$defs/{name}"} for name in _content()}
    version = {"description": "What this version needs besides.", "type": "object", "properties": content}
    return {
        "$schema": _DRAFT,
        "title": "A component of a site",
        "$defs": _content(),
        **_object(
            "What one part of a site needs. What stands at the top is of all versions.",
            ("component",),
            component=_label("The component's name, which is the file's too."),
            about=_line("What it is, in one line."),
            **content,
            versions=_map("What each version needs besides.", _LABEL, {**version, "additionalProperties": False}),
        ),
    }


def _profile() -> Schema:
    python = _text("A Python version.", r"^3\.(?:[89]|[1-9][0-9])$", examples=["3.11"])
    choice = _word(
        "NAME, or NAME@VERSION.",
        r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?:@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)?$",
        longest=127,
    )
    extra = _object(
        "A further archive.",
        ("archive", "suite", "keyring"),
        archive=_label("Its role."),
        suite=_word("A suite, or a path that ends in a slash.", r"^(?!.*\.\.)[A-Za-z0-9./_-]+$", longest=120),
        components=_list("Its parts.", _label("A part.")),
        keyring=_file("Its keys, below files/."),
    )
    target = _object(
        "A release that OS packages are for.",
        ("archive", "release"),
        archive=_label("The archive by its role: debian, ubuntu."),
        release=_label("Its release name."),
        components=_list("The archive's parts. Without them those that this machine's apt has.", _label("A part.")),
        also=_list("Further archives.", extra),
        status=_file("A host's dpkg status file, below files/: what it lists need not be carried."),
    )
    return {
        "$schema": _DRAFT,
        "title": "A profile",
        **_object(
            "Which components a site has, in which versions, and for which machines.",
            ("profile", "release", "platforms", "bootstrap", "components"),
            profile=_label("The profile's name, which is the file's too."),
            about=_line("What it is, in one line."),
            release=_object(
                "The release that bundles of this profile are.",
                ("line", "number"),
                line=_label("The line of releases."),
                number={
                    "description": "Grows with each release.",
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 2**53 - 1,
                },
            ),
            platforms=_list(
                "Platforms of images.",
                _word("os/architecture[/variant].", r"^[a-z0-9][a-z0-9_.]*(?:/[a-z0-9][a-z0-9_.]*){1,2}$"),
            ),
            glibc=_word(
                "The oldest among the hosts, as wheels name it.", r"^(?:manylinux_2_[1-9][0-9]|manylinux2014)$"
            ),
            bootstrap=_object(
                "What may run the tool on the site.", ("python",), python=_list("Python versions.", python)
            ),
            python=_list("Python versions that wheels are for.", python),
            constraints=_list("Bounds on projects that somebody else asks for.", _REQUIREMENT),
            packages={"description": "Releases that packages are for.", "anyOf": [target, _list("Several.", target)]},
            kernels=_list("The hosts' kernels, as uname -r says.", _text("A kernel.", _VERSION)),
            components=_list("What the site has.", choice),
            values=_map("Values laid over those of charts, by release name.", _LABEL, _free("Values.")),
            accept_license=_list(
                "Licences that restrict redistribution and are accepted.", _word("The name of a licence.", _SEGMENT)
            ),
        ),
    }
