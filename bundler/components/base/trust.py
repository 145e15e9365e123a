"""Trust: the site's CA among those that every program of a host trusts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File

FOLDER = "/usr/local/share/ca-certificates"
LINKS = "/etc/ssl/certs"  # with a link to each file of the folder, made with the store
STORE = f"{LINKS}/ca-certificates.crt"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Our files in the folder, those whose certificate is in the store that programs read, and what is left of those
    that went since the store was made: it has them still."""

    files: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def certificate_files(bundle: str) -> tuple[File, ...]:
    """One file for each certificate of a PEM text, as update-ca-certificates(8) wants it.

    By number: a plan names them before the site has its secrets, and the CA with them.
    """
    return tuple(
        File(path=f"{FOLDER}/bundle-{number}.crt", content=text, why="the site's CA is not there")
        for number, text in enumerate(_CERTIFICATE.findall(bundle))
    )


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The site's roots are trusted, and none that it had before and gave up."""

    files: tuple[File, ...]

    @property
    def fact(self) -> Ask[Trusted]:
        # The last line of a certificate is the end of its signature: no other has it.
        lines = "\n".join(f"t {file.path} '{str(file.content).splitlines()[-2]}'" for file in self.files)
        script = f"""for f in {FOLDER}/bundle-*.crt; do if [ -e "$f" ]; then echo "file $f"; fi; done
for f in {LINKS}/bundle-*.pem; do if [ -L "$f" ] && [ ! -e "$f" ]; then echo "left $f"; fi; done
t() {{ if grep -qxF -e "$2" {STORE} 2>/dev/null; then echo "stored $1"; fi; }}
{lines}"""
        return Ask(name="trust in the site's CA", script=script, reading=_trusted, bare=Trusted())

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self.fact, *(file.fact for file in self.files))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self.fact]
        changed = [action for file in self.files for action in file.wanted(facts)]
        mine = {file.path for file in self.files}
        changed += [Remove(path=path, reason="the site has another CA now") for path in have.files if path not in mine]
        yield from changed
        if changed or have.left or not mine <= set(have.stored):
            here = f"{STORE} has a CA that is gone" if have.left else f"the site's CA is not in {STORE}"
            why = "its folder changes" if changed else here
            yield _update(why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        have = facts[self.fact].files
        yield from (Remove(path=path, reason="it is ours") for path in have)
        if have or facts[self.fact].left:
            yield _update("its folder changes")


def _update(why: str) -> Run:
    # It adds to what one that was killed has left.
    text = f"rm -f {STORE}.new\nupdate-ca-certificates --fresh\n"
    return Run(name="update-ca-certificates", text=text, reason=why)


def _trusted(said: str) -> Trusted:
    lines = [line.split(" ", 1) for line in said.splitlines()]
    files, stored, left = (tuple(path for kind, path in lines if kind == word) for word in ("file", "stored", "left"))
    return Trusted(files=files, stored=stored, left=left)
