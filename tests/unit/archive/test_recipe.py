"""What the text promises; tests/unit/docs/test_trust_doc.py follows it word by word."""

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from bundler.archive.form import BOOTSTRAP, STATEMENT, signature_name
from bundler.archive.recipe import recipe
from tests.bundles import ALICE, SOURCES, tiny_bundle
from tests.lab import require_program
from tests.volumes import sliced


@pytest.mark.parametrize("signed", [True, False])
def test_it_is_plain_text_and_names_what_exists(signed: bool, tmp_path: Path) -> None:
    text = recipe(signed=signed).decode("ascii")
    assert all(line.isprintable() and len(line) <= 120 for line in text.splitlines())
    made = tiny_bundle(tmp_path, keys=(ALICE,) if signed else ())
    listed = re.search(r'xf "\$BUNDLE" (.+)', text)
    assert listed
    names = listed[1].replace('"', "").replace("$ID", ALICE.public.keyid).split()
    assert names == [
        place.member.name for place in made.layout.places if place.member.name.startswith((STATEMENT, BOOTSTRAP))
    ]


def test_an_older_bootstrap_of_the_same_signer_is_not_run(tmp_path: Path) -> None:
    """Its signature is good, but it is not what the statement lists."""
    require_program("openssl")
    older = tiny_bundle(tmp_path, sources={**SOURCES, "__main__.py": SOURCES["__main__.py"].swapcase()}, name="older")
    made = tiny_bundle(tmp_path)
    old, new = older.path.read_bytes(), bytearray(made.path.read_bytes())
    for name in (BOOTSTRAP, signature_name(BOOTSTRAP, ALICE.public.keyid)):
        place = made.layout.place(name)
        assert place == older.layout.place(name)
        new[place.body : place.end] = old[place.body : place.end]
    made.path.write_bytes(new)
    (tmp_path / "alice.pub").write_bytes(ALICE.public.pem())
    script = textwrap.dedent("".join(re.findall(r"(?m)^    .*\n", recipe(signed=True).decode())))
    script = script.replace("/media/disk/site.bundle", str(made.path))
    script = script.replace("/media/card/NAME.pub", str(tmp_path / "alice.pub"))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines().count("Signature Verified Successfully") == 2
    assert done.returncode != 0
    assert not (tmp_path / "first-step/bootstrap").exists()


def test_the_first_slice_is_enough(tmp_path: Path) -> None:
    """All that the recipe takes lies at the front: a set of volumes begins like the file."""
    require_program("openssl")
    found = sliced(tiny_bundle(tmp_path), tmp_path / "disk", 2)
    found.path(2).unlink()
    (tmp_path / "alice.pub").write_bytes(ALICE.public.pem())
    script = textwrap.dedent("".join(re.findall(r"(?m)^    .*\n", recipe(signed=True).decode())))
    script = script.replace("/media/disk/site.bundle", str(found.path(1)))
    script = script.replace("/media/card/NAME.pub", str(tmp_path / "alice.pub"))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"install {found.path(1)}" in done.stdout
