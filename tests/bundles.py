"""Whole tiny bundles in a moment, through the real pieces and without any network: to read, to install, to attack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bundler.archive import tar
from bundler.archive.bootstrap import Bootstrap
from bundler.archive.draft import Draft, draft_of
from bundler.archive.form import BOOTSTRAP, STATEMENT, signature_name
from bundler.archive.layout import Layout, Member, lay_out
from bundler.archive.oci import CHART_PROVENANCE_TYPE
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedBootstrap, LockedChart, LockedDeb, LockedFile, LockedImage, LockedWheel
from bundler.model.platform import Platform
from bundler.model.profile import Release
from bundler.model.reference import Reference
from bundler.model.statement import Statement, write_statement
from bundler.signing.keys import PublicKey, SigningKey
from bundler.signing.trust import Trust
from bundler.sources.chart_archive import read_archive
from tests.content import CONFIG, INDEX, LAYER, MANIFEST, Made, MadeImage, make_deb, make_image, make_wheel

IMAGES = {"registry.example:5000/team/app:1.0": make_image({"app": b"app\n"}, index=True)}
WHEELS = (make_wheel("tiny"),)
DEBS = (make_deb("hello", "1:2.10-3", "amd64"),)
FILES = {"notes.txt": b"notes\n", "empty": b"", "model.bin": bytes(range(256)) * 300}  # the last one is aligned
SOURCES = {"__main__.py": b"import sys\nprint(*sys.argv[1:])\n", "bundler/__init__.py": b""}


def signing_key(name: str) -> SigningKey:
    """The key of that name: always the same."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


ALICE, BOB, CAROL = signing_key("alice"), signing_key("bob"), signing_key("carol")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyBundle:
    """A bundle at `path`, signed by all of `keys`; `blobs` are the bytes of everything that the lock names."""

    path: Path
    keys: tuple[SigningKey, ...]
    lock: Lock
    blobs: Mapping[Digest, bytes]
    statement: Statement
    layout: Layout

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        return tuple(key.public for key in self.keys)

    @property
    def trust(self) -> Trust:
        """All of its keys, all of them needed."""
        return Trust(keys=self.publics, threshold=len(self.keys))

    def sign_beside(self, key: SigningKey) -> Path:
        """Put the signature of another key beside the file."""
        path = self.path.with_name(f"{self.path.name}.{key.public.keyid}.sig")
        path.write_bytes(key.sign(write_statement(self.statement)))
        return path


def tiny_bundle(
    folder: Path,
    *,
    keys: Iterable[SigningKey] = (ALICE,),
    line: str = "tiny",
    number: int = 1,
    images: Mapping[str, MadeImage] = IMAGES,
    charts: Iterable[Made] = (),
    wheels: Iterable[Made] = WHEELS,
    debs: Iterable[Made] = DEBS,
    files: Mapping[str, bytes] = FILES,
    sources: Mapping[str, bytes] = SOURCES,
    name: str = "tiny.bundle",
) -> TinyBundle:
    """Make and sign a bundle in `folder`. The same arguments give the same bytes."""
    keys, blobs = tuple(keys), Blobs()
    lock = bare_lock(
        profile="tiny",
        release=Release(line=line, number=number),
        bootstrap=LockedBootstrap(pythons=("3.11",), wheels=tuple(blobs.wheel(made) for made in wheels)),
        images=tuple(blobs.image(name, made) for name, made in images.items()),
        charts=tuple(blobs.chart(made) for made in charts),
        wheels=tuple(blobs.wheel(made) for made in wheels),
        debs=tuple(blobs.deb(made) for made in debs),
        files=tuple(blobs.file(name, data) for name, data in files.items()),
    )
    draft = draft_of(lock, sources=sources, signers=tuple(key.public for key in keys))
    data, statement = assemble(draft, blobs.known, keys)
    path = folder / name
    path.write_bytes(data)
    return TinyBundle(path=path, keys=keys, lock=lock, blobs=blobs.known, statement=statement, layout=draft.layout)


def bare_lock(**facts: Any) -> Lock:
    """A lock of nothing, with these facts."""
    nothing: dict[str, Any] = {
        "profile": "bare",
        "release": Release(line="bare", number=1),
        "platforms": (Platform("linux", "amd64"),),
        "glibc": "manylinux_2_36",
        "bootstrap": LockedBootstrap(pythons=(), wheels=()),
    }
    lists = ("constraints", "asked", "targets", "charts", "images", "wheels", "debs", "files")
    return Lock(**{**nothing, **dict.fromkeys(lists, ()), **facts})


@dataclass(frozen=True, slots=True)
class Blobs:
    """Makes locked entries of bytes, and keeps the bytes."""

    known: dict[Digest, bytes] = field(default_factory=dict)

    def put(self, data: bytes) -> Digest:
        self.known[Digest.of(data)] = data
        return Digest.of(data)

    def describe(self, media_type: str, data: bytes) -> Descriptor:
        return Descriptor(media_type=media_type, digest=self.put(data), size=len(data))

    def image(self, name: str, made: MadeImage) -> LockedImage:
        config, *layers = made.blobs
        return LockedImage(
            reference=Reference.parse(name),
            root=self.describe(INDEX if len(made.manifests) > 1 else MANIFEST, made.root),
            manifests=tuple(self.describe(MANIFEST, each) for each in made.manifests if each != made.root),
            blobs=(self.describe(CONFIG, config), *(self.describe(LAYER, layer) for layer in layers)),
        )

    def chart(self, made: Made) -> LockedChart:
        """The description is its provenance file."""
        chart = read_archive(made.data, name=made.name)
        provenance = self.describe(CHART_PROVENANCE_TYPE, made.description) if made.description else None
        return LockedChart(
            chart=chart.meta.name,
            version=chart.meta.version,
            repository="https://charts.example",
            url=f"https://charts.example/{made.name}",
            digest=self.put(made.data),
            size=len(made.data),
            metadata=chart.meta.text,
            provenance=provenance,
            manifest=None,
            config=None,
            dependencies=(),
        )

    def wheel(self, made: Made) -> LockedWheel:
        project, version, *_ = made.name.split("-")
        return LockedWheel(
            project=project,
            version=version,
            file=made.name,
            digest=self.put(made.data),
            size=len(made.data),
            metadata=self.describe("text/plain", made.description),
            pythons=("3.11",),
        )

    def deb(self, made: Made) -> LockedDeb:
        stanza = dict(line.split(": ", 1) for line in made.description.decode().splitlines())
        return LockedDeb(
            package=stanza["Package"],
            version=stanza["Version"],
            architecture=stanza["Architecture"],
            archive="debian",
            suite="bookworm",
            release="bookworm",
            path=f"pool/main/{made.name}",
            digest=self.put(made.data),
            size=len(made.data),
            control=made.description.decode().rstrip("\n"),
        )

    def file(self, name: str, data: bytes) -> LockedFile:
        return LockedFile(name=name, url=f"https://files.example/{name}", digest=self.put(data), size=len(data))


def assemble(draft: Draft, blobs: Mapping[Digest, bytes], keys: Iterable[SigningKey]) -> tuple[bytes, Statement]:
    """The bytes of the finished file. `blobs` has those that the draft does not make itself."""
    bootstrap = bootstrap_tar(draft.bootstrap, blobs)
    statement = draft.finished(Digest.of(bootstrap))
    signed = {STATEMENT: write_statement(statement), BOOTSTRAP: bootstrap}
    bodies = {entry.name: blobs.get(entry.digest, b"") for entry in statement.entries} | dict(draft.ready) | signed
    for key in keys:
        bodies |= {signature_name(name, key.public.keyid): key.sign(data) for name, data in signed.items()}
    return fill(draft.layout, bodies), statement


def bootstrap_tar(bootstrap: Bootstrap, blobs: Mapping[Digest, bytes]) -> bytes:
    return fill(bootstrap.layout, {**bootstrap.ready, **{n: blobs[w.digest] for n, w in bootstrap.wheels.items()}})


def fill(layout: Layout, bodies: Mapping[str, bytes]) -> bytes:
    """A tar of that layout. Every body has the size that the layout says."""
    parts = []
    for place in layout.places:
        body = bodies[place.member.name]
        assert len(body) == place.member.size, place.member.name
        parts += [place.header, body, place.padding]
    return b"".join([*parts, tar.END])


def front(statement: bytes, signatures: Iterable[tuple[str, bytes]] = (), *, bootstrap: bytes = b"") -> bytes:
    """The beginning of a bundle with any statement and any signatures by keyid, up to bootstrap.tar and an end mark."""
    bodies = {STATEMENT: statement, **{signature_name(STATEMENT, keyid): data for keyid, data in signatures}}
    bodies[BOOTSTRAP] = bootstrap
    return fill(lay_out(Member(name=name, size=len(body)) for name, body in bodies.items()), bodies)
