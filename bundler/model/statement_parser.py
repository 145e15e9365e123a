"""Reading a statement: only canonical bytes, only what this format has. Parse it only after its signatures hold."""

from collections.abc import Iterable

from bundler.errors import Malformed, MalformedStatement
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.exact import check_kind, parse_exact
from bundler.model.limits import LIMITS
from bundler.model.names import check_label, check_segment, check_version
from bundler.model.platform import Platform
from bundler.model.profile import parse_release
from bundler.model.reference import Reference
from bundler.model.scalars import check_chart_name
from bundler.model.statement import (
    BLOB_PREFIX,
    DELTA,
    FEATURES,
    FIXED_NAMES,
    FORMAT,
    PATCH_PREFIX,
    TYPE,
    Base,
    ChartArtifact,
    DebArtifact,
    Delta,
    Entry,
    FileArtifact,
    Held,
    ImageArtifact,
    Patched,
    Statement,
    WheelArtifact,
    write_statement,
)


def parse_statement(data: bytes, *, path: str) -> Statement:
    """Read signed bytes. Raises MalformedStatement, or NewerToolNeeded for a type, format or feature not known here."""

    def read(fields: Fields) -> Statement:
        check_kind(fields, path=path, types=(TYPE,), form=FORMAT, features=FEATURES)
        statement = fields.document(_statement)
        _check_whole(statement)
        return statement

    try:
        return parse_exact(data, path=path, read=read, write=write_statement)
    except Malformed as error:
        raise MalformedStatement(path=path, where="bundle.json", found=error.found, expected=error.expected) from None


def _statement(fields: Fields) -> Statement:
    return fields.build(
        Statement,
        release=fields.nested("release", parse_release),
        content=fields.value("content", Digest.parse),
        signers=fields.values("signers", _raw_key),
        platforms=fields.values("platforms", Platform.parse),
        tool=fields.value("tool", check_segment),
        lock=fields.value("lock", Digest.parse),
        entries=fields.each("entries", _entry),
        images=fields.each("images", _image),
        charts=fields.each("charts", _chart),
        wheels=fields.each("wheels", _wheel),
        debs=fields.each("debs", _deb),
        files=fields.each("files", _file),
        delta=fields.nested("delta", _delta) if fields.value("kind", _kind) == DELTA else None,
    )


def _kind(text: str) -> str:
    if text not in ("full", DELTA):
        raise Malformed(found=repr(text[:40]), expected=f"full or {DELTA}")
    return text


def _delta(fields: Fields) -> Delta:
    return fields.build(
        Delta,
        bases=fields.each("bases", parse_base),
        held=fields.each("held", parse_held),
        patches=fields.each("patches", _patched, optional=True),
    )


def _patched(fields: Fields) -> Patched:
    return fields.build(
        Patched,
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
        patch=fields.value("patch", Digest.parse),
        scratch=fields.integer("scratch"),
        bases=fields.each("bases", parse_held),
    )


def parse_base(fields: Fields) -> Base:
    return fields.build(
        Base, release=fields.nested("release", parse_release), content=fields.value("content", Digest.parse)
    )


def parse_held(fields: Fields) -> Held:
    return fields.build(
        Held,
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
        base=fields.integer("base"),
    )


def _raw_key(text: str) -> bytes:
    return bytes.fromhex(Digest(text).hex)  # 32 bytes, written like a digest's


def _entry(fields: Fields) -> Entry:
    return fields.build(
        Entry,
        name=fields.value("name", _entry_name),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
    )


def _entry_name(text: str) -> str:
    if text not in FIXED_NAMES:
        prefix = PATCH_PREFIX if text.startswith(PATCH_PREFIX) else BLOB_PREFIX
        if not text.startswith(prefix):
            raise Malformed(found=repr(text[:80]), expected=f"{BLOB_PREFIX}<hex> or one of {', '.join(FIXED_NAMES)}")
        Digest(text.removeprefix(prefix))
    return text


def _image(fields: Fields) -> ImageArtifact:
    return fields.build(
        ImageArtifact,
        name=fields.value("name", _canonical_reference),
        root=fields.value("root", Digest.parse),
        manifests=fields.values("manifests", Digest.parse),
        referrers=fields.values("referrers", Digest.parse),
        blobs=fields.values("blobs", Digest.parse),
    )


def _canonical_reference(text: str) -> str:
    if str(Reference.parse(text)) != text:
        raise Malformed(found=repr(text[:160]), expected="a canonical reference")
    return text


def _chart(fields: Fields) -> ChartArtifact:
    chart = fields.build(
        ChartArtifact,
        name=fields.value("name", check_segment),
        chart=fields.value("chart", check_chart_name),
        version=fields.value("version", check_segment),
        reference=fields.value("reference", _reference_or_none),
        digest=fields.value("digest", Digest.parse),
        config=fields.value("config", Digest.parse),
        provenance=fields.values("provenance", Digest.parse),
        manifest=fields.value("manifest", Digest.parse),
    )
    if fields.ok and len(chart.provenance) > 1:
        fields.fail(found="several provenance files", expected="one at most")
    if fields.ok and chart.name != f"{chart.chart}-{chart.version}.tgz":
        fields.fail(found=chart.name, expected=f"{chart.chart}-{chart.version}.tgz")
    return chart


def _reference_or_none(text: str) -> str:
    if text and not Reference.parse(text).tag:
        raise Malformed(found=repr(text[:160]), expected="a reference with a tag")
    return _canonical_reference(text) if text else text


def _wheel(fields: Fields) -> WheelArtifact:
    return fields.build(
        WheelArtifact,
        name=fields.value("name", check_segment),
        project=fields.value("project", check_segment),
        version=fields.value("version", check_version),
        digest=fields.value("digest", Digest.parse),
        metadata=fields.value("metadata", Digest.parse),
        manifest=fields.value("manifest", Digest.parse),
    )


def _deb(fields: Fields) -> DebArtifact:
    return fields.build(
        DebArtifact,
        name=fields.value("name", check_segment),
        package=fields.value("package", check_segment),
        version=fields.value("version", check_version),
        architecture=fields.value("architecture", check_label),
        archive=fields.value("archive", check_label),
        release=fields.value("release", check_label),
        digest=fields.value("digest", Digest.parse),
        control=fields.value("control", Digest.parse),
        manifest=fields.value("manifest", Digest.parse),
    )


def _file(fields: Fields) -> FileArtifact:
    return fields.build(
        FileArtifact,
        name=fields.value("name", check_segment),
        digest=fields.value("digest", Digest.parse),
        config=fields.value("config", Digest.parse),
        manifest=fields.value("manifest", Digest.parse),
    )


def _check_whole(statement: Statement) -> None:
    """What no single field shows: names once, the fixed entries first, every artifact's blobs carried."""
    names = [entry.name for entry in statement.entries]
    if len(names) > LIMITS.entries or len(statement.signers) > LIMITS.signers:
        raise Malformed(found="too many entries or signers", expected=f"{LIMITS.entries} and {LIMITS.signers} at most")
    if len(statement.blobs) > LIMITS.entries or sum(blob.size for blob in statement.blobs) > LIMITS.integer:
        raise Malformed(found="blobs of more than 2^53 bytes in all, or too many", expected="less")
    if tuple(names[: len(FIXED_NAMES)]) != FIXED_NAMES:
        raise Malformed(found=f"the entries {', '.join(names[:4])}", expected=f"first {', '.join(FIXED_NAMES)}")
    _refuse_doubles("entry", names)
    _refuse_doubles("signer", (key.hex() for key in statement.signers))
    for kind, artifacts in (
        ("image", statement.images),
        ("chart", statement.charts),
        ("wheel", statement.wheels),
        ("deb", ()),
        ("file", statement.files),
    ):
        _refuse_doubles(kind, (artifact.name for artifact in artifacts))
    _refuse_doubles("deb", (f"{deb.archive}/{deb.release}/{deb.name}" for deb in statement.debs))
    if statement.entries[3].digest != statement.content:
        raise Malformed(found=f"content {statement.content}", expected="the digest of index.json")
    _check_blobs(statement)


def _check_blobs(statement: Statement) -> None:
    carried, patches = set(), []
    for entry in statement.entries[len(FIXED_NAMES) :]:
        if entry.name == f"{PATCH_PREFIX}{entry.digest.hex}":
            patches.append(entry.digest)
        elif entry.name == f"{BLOB_PREFIX}{entry.digest.hex}" and not patches:
            carried.add(entry.digest)
        else:
            raise Malformed(
                found=f"{entry.name} with {entry.digest}", expected="blobs under their own digests, patches"
            )
    if patches != sorted(each.patch for each in statement.patches):
        raise Malformed(found="patches that are not those of the delta", expected="each once, by digest")
    if statement.lock not in carried:
        raise Malformed(found=f"no blob of the lock {statement.lock}", expected="the lock among the blobs")
    known = carried | _check_held(statement, carried)
    for artifact in statement.artifacts:
        missing = set(artifact.members) - known
        if missing:
            raise Malformed(found=f"{artifact.name} without {min(missing)}", expected="every blob of every artifact")
    for image in statement.images:
        if not {image.root, *image.referrers} <= set(image.manifests):
            raise Malformed(found=f"{image.name} without its root or a referrer", expected="these among its manifests")


def _check_held(statement: Statement, carried: set[Digest]) -> set[Digest]:
    """What is left to the site is named once, in order, and not carried too. What is read before the store is filled
    always travels."""
    if statement.delta is None:
        return set()
    digests = [held.digest for held in statement.delta.held]
    if digests != sorted(set(digests)) or not carried.isdisjoint(digests):
        raise Malformed(found="held blobs twice, out of order or carried too", expected="each once, by digest")
    if any(held.base >= len(statement.delta.bases) for held in statement.delta.held):
        raise Malformed(found="a held blob of no base", expected="the number of one of the bases")
    if not carried.issuperset(deb.control for deb in statement.debs):
        raise Malformed(found="a package's description that is not carried", expected="all of them")
    return {*digests, *_check_patches(statement.delta, carried)}


def _check_patches(delta: Delta, carried: set[Digest]) -> set[Digest]:
    """A blob that comes as a patch comes in no other way, and is made of what the site has before."""
    digests = [each.digest for each in delta.patches]
    if digests != sorted(set(digests)) or not {*carried, *(held.digest for held in delta.held)}.isdisjoint(digests):
        raise Malformed(found="patched blobs twice, out of order, carried or held too", expected="each once, by digest")
    bases = [held for each in delta.patches for held in each.bases]
    if not all(each.bases for each in delta.patches) or any(held.base >= len(delta.bases) for held in bases):
        raise Malformed(found="a patch of no base", expected="blobs of the bases")
    if not {*carried, *digests}.isdisjoint(held.digest for held in bases):
        raise Malformed(found="a patch made against what the delta brings", expected="blobs that the site has before")
    if sum(each.scratch for each in delta.patches) > LIMITS.integer:
        raise Malformed(found="scratch files of more than 2^53 bytes in all", expected="less")
    return set(digests)


def _refuse_doubles(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Malformed(found=f"the {kind} {name[:80]} twice", expected="each name once")
        seen.add(name)
