import random
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given

from bundler.errors import InvalidDocument
from bundler.model.asked import Asked
from bundler.model.lock import Lock, deb_file
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from tests import strategies
from tests.bundles import tiny_bundle

T = TypeVar("T")


def settled(lock: Lock) -> Lock:
    """The lock with its entries in the order of its text."""
    return replace(
        lock,
        bootstrap=replace(lock.bootstrap, wheels=tuple(sorted(lock.bootstrap.wheels, key=lambda each: each.name))),
        asked=tuple(_asked(each) for each in sorted(lock.asked, key=lambda each: each.name)),
        targets=tuple(
            replace(each, roles=tuple(sorted(each.roles, key=lambda role: role.role)))
            for each in sorted(lock.targets, key=lambda each: each.name)
        ),
        charts=tuple(
            replace(each, dependencies=tuple(sorted(each.dependencies, key=lambda dependency: dependency.name)))
            for each in sorted(lock.charts, key=lambda each: each.name)
        ),
        images=tuple(
            replace(
                each,
                manifests=tuple(sorted(each.manifests)),
                blobs=tuple(sorted(each.blobs)),
                referrers=tuple(sorted(each.referrers)),
            )
            for each in sorted(lock.images, key=lambda each: each.name)
        ),
        wheels=tuple(sorted(lock.wheels, key=lambda each: each.name)),
        debs=tuple(sorted(lock.debs, key=lambda each: (each.archive, each.release, each.name))),
        files=tuple(sorted(lock.files, key=lambda each: each.name)),
    )


def _asked(each: Asked) -> Asked:
    return replace(
        each,
        images=tuple(sorted(each.images, key=str)),
        revealed=tuple(sorted(each.revealed, key=str)),
        wheels=tuple(sorted(each.wheels)),
        packages=tuple(sorted(each.packages)),
        files=tuple(sorted(each.files)),
        charts=tuple(
            replace(chart, variants=tuple(sorted(chart.variants, key=lambda variant: variant.name)))
            for chart in sorted(each.charts, key=lambda chart: chart.release)
        ),
        silences=tuple(sorted(each.silences, key=lambda silence: silence.image)),
    )


def shuffled(lock: Lock, seed: int) -> Lock:
    """The same lock with the entries of every list in another order."""

    def mix(entries: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(random.Random(seed).sample(entries, len(entries)))

    return replace(
        lock,
        bootstrap=replace(lock.bootstrap, wheels=mix(lock.bootstrap.wheels)),
        images=mix(tuple(replace(each, manifests=mix(each.manifests), blobs=mix(each.blobs)) for each in lock.images)),
        asked=mix(lock.asked),
        targets=mix(lock.targets),
        charts=mix(lock.charts),
        wheels=mix(lock.wheels),
        debs=mix(lock.debs),
        files=mix(lock.files),
    )


@strategies.fewer(2)
@given(strategies.locks)
def test_round_trip(lock: Lock) -> None:
    text = write_lock(lock)
    parsed = parse_lock(text, file="images.lock")
    assert parsed == settled(lock)
    assert write_lock(parsed) == text


@strategies.fewer(4)
@given(strategies.locks)
def test_equal_locks_have_equal_text(lock: Lock) -> None:
    assert {write_lock(shuffled(lock, seed)) for seed in range(3)} == {write_lock(lock)}


@pytest.mark.parametrize(
    ("version", "file"),
    [("1.2-3", "p_1.2-3_all.deb"), ("1:1.2-3", "p_1.2-3_all.deb"), ("2:1:1", "p_1:1_all.deb")],
)
def test_deb_file(version: str, file: str) -> None:
    assert deb_file("p", version, "all") == file


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_lock(tiny_bundle(tmp_path_factory.mktemp("lock")).lock)


# In the lock of a tiny bundle: the first line that holds the first text, with it replaced by the second.
WRONG = [
    ("lockVersion: 1", "lockVersion: 2"),
    ("lockVersion: 1", "lockVersion: '01'"),
    ("profile: tiny", "profile: Tiny"),
    ("profile: tiny", "profile: tiny\nunknown: x"),
    ("number: 1", "number: -1"),
    ("number: 1", "number: 9007199254740992"),
    ("linux/amd64", "linux"),
    ('python: ["3.11"]', 'python: ["3.1"]'),
    ('python: ["3.11"]', "python: 3.11"),
    ("project: tiny", "project: ti/ny"),
    ("version: 1.0", 'version: ""'),
    ("version: 1.0", 'version: "1 0"'),
    ("version: 1.0", 'version: "1\\x1b[2J"'),
    ("file: tiny-1.0-py3-none-any.whl", "file: ../tiny-1.0-py3-none-any.whl"),
    ("file: tiny-1.0-py3-none-any.whl", "fil: tiny-1.0-py3-none-any.whl"),
    ("reference: registry.example", "reference: https://registry.example"),
    ("mediaType: application/vnd.oci.image.index.v1+json", "mediaType: index"),
    ("digest: sha256:", "digest: sha512:"),
    ("digest: sha256:", "digest: "),
    ("size: ", "size: -"),
    ("size: ", "size: 1e"),
    ("package: hello", "package: .hello"),
    ("version: 1:2.10-3", "version: 1:2:10-3"),
    ("version: 1:2.10-3", "version: 1:2/../10-3"),
    ("version: 1:2.10-3", "version: '1:'"),
    ("architecture: amd64", "architecture: AMD64"),
    ("archive: debian", "archive: https://archive.example"),
    ("suite: bookworm", "suite: bookworm/../updates"),
    ("release: bookworm", "release: ''"),
    ("path: pool/main/", "path: ../"),
    ("path: pool/main/", "path: /"),
    ("path: pool/main/", "path: pool\\main/"),
    ("control: |-", "control: x\n  other: |-"),
    ("    Version: 1:2.10-3", "\n    Version: 1:2.10-3"),
    ("    Version: 1:2.10-3", "    Version"),
    ("    Version: 1:2.10-3", "    Version: \u00a0"),
    ("name: notes.txt", "name: notes/../../txt"),
    ("name: notes.txt", 'name: "notes\\0txt"'),
    ("url: https://", "url: https://user@"),
    ("url: https://", "url: gopher://"),
]


@pytest.mark.parametrize(("old", "new"), WRONG)
def test_wrong_field(text: str, old: str, new: str) -> None:
    at = text.index(old)
    with pytest.raises(InvalidDocument) as caught:
        parse_lock(text[:at] + new + text[at + len(old) :], file="images.lock")
    first, last = text[:at].count("\n") + 1, text[:at].count("\n") + 1 + new.count("\n")
    for problem in caught.value.problems:
        assert problem.file == "images.lock"
    near = {problem.line for problem in caught.value.problems}
    # A stanza's problem stands at its key, a few lines above; a missing key's at its mapping.
    assert any(first - 12 <= line <= last for line in near), (first, last, caught.value.problems)


@pytest.mark.parametrize(
    "key", ["profile", "release", "platforms", "bootstrap", "images", "wheels", "debs", "files", "lockVersion"]
)
def test_missing_key(text: str, key: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_lock(text.replace(f"\n{key}:", "\nother:"), file="images.lock")
    assert f"no key {key!r}" in {problem.found for problem in caught.value.problems}


@pytest.mark.parametrize("kind", ["images", "wheels", "debs", "files"])
def test_a_name_twice(tmp_path: Path, kind: str) -> None:
    lock = tiny_bundle(tmp_path).lock
    with pytest.raises(InvalidDocument) as caught:
        parse_lock(write_lock(replace(lock, **{kind: getattr(lock, kind)[:1] * 2})), file="images.lock")
    (problem,) = caught.value.problems
    assert problem.found.endswith("a second time")
    assert problem.line > 1


def test_a_bootstrap_wheel_twice(tmp_path: Path) -> None:
    lock = tiny_bundle(tmp_path).lock
    with pytest.raises(InvalidDocument, match="a second time"):
        parse_lock(write_lock(replace(lock, bootstrap=replace(lock.bootstrap, wheels=lock.wheels * 2))), file="x")


def test_an_empty_stanza(text: str) -> None:
    start = text.index("  control: |-")
    end = text.index("files:", start)
    for stanza in ('""', '"  Package: x"', '"Package: x\\n\\nPackage: y"', '"Package: x\\n"'):
        with pytest.raises(InvalidDocument, match="control"):
            parse_lock(f"{text[:start]}  control: {stanza}\n{text[end:]}", file="x")
