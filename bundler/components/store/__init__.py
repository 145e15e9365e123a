"""The store: on each site host the tool itself, the site's own keys, and the release with all its views."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from bundler.archive.sending import Body, Sending, front_of, parse_missing
from bundler.components.store.space import release_space
from bundler.errors import Usage
from bundler.hosts.base import Answer, Host, Script
from bundler.hosts.transfer import send
from bundler.model.digest import Digest
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.model.sitenames import site_archive
from bundler.secrets.passwords import AptKey, ensure_apt_key
from bundler.signing.openpgp import create_apt_key, public_armored
from bundler.site.generation import name_of
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File, Folder, Resource
from bundler.steps.step import Component, Goal, Source, Step

ROOT = "/srv/bundle"
CONFIG = "/etc/bundle"
TOOL = "/opt/bundle"
COMMAND = "/usr/local/bin/bundle"
BOOTSTRAP = "bootstrap.tar"
TOOL_STEP = "store/tool"


@dataclass(frozen=True, kw_only=True)
class SendTool(Action):
    """The tool's own archive, unpacked beside the one in use and then switched to."""

    kind: ClassVar[str] = "send"
    digest: Digest
    source: Source | None = field(repr=False, compare=False)

    @property
    def target(self) -> str:
        return f"{TOOL}/{self.digest.hex[:16]}"

    def perform(self, host: Host, epoch: int) -> Answer:
        source = needed(self.source)
        path = f"/var/lib/bundle/{BOOTSTRAP}"
        place = source.layout.place(BOOTSTRAP)
        sent = send(host, Body(source.file, place), path, digest=self.digest, mode=0o600, owner="root", epoch=epoch)
        return sent if sent.code else host.run(Script(text=self._unpack(path), timeout=120, epoch=epoch))

    def _unpack(self, path: str) -> str:
        return f"""umask 022; new={TOOL}/.new; rm -rf "$new"; mkdir -p "$new" || exit 1
tar -xf {path} -C "$new" --no-same-owner || exit 1
python3 -I "$new"/bootstrap --version || exit 1
rm -rf {self.target}; mv -T "$new" {self.target} && sync -f {TOOL} || exit 1
ln -sfn {self.digest.hex[:16]} {TOOL}/.current && mv -T {TOOL}/.current {TOOL}/current && rm -f {path}
"""


@dataclass(frozen=True, kw_only=True)
class Deliver(Action):
    """The release: what the host's store lacks of it, in one stream, and then the switch to it."""

    kind: ClassVar[str] = "deliver"
    release: str
    keys: int
    threshold: int
    source: Source | None = field(repr=False, compare=False)

    @property
    def target(self) -> str:
        return f"release {self.release}"

    def perform(self, host: Host, epoch: int) -> Answer:
        source = needed(self.source)
        trust = " ".join(f"--trust {CONFIG}/trust-{number}.pub" for number in range(self.keys))
        receive = f"{COMMAND} receive --root {ROOT} --threshold {self.threshold} {trust}"
        asked = host.run(Script(text=f"exec {receive} --missing", stdin=front_of(source.signed), timeout=120))
        if asked.code != 0:
            return asked
        missing = parse_missing(asked.stdout, source=host.name)
        sending = Sending(source.file, source.signed, source.layout, missing.blobs)
        return host.run(Script(text=f"exec {receive} --quiet", stdin=sending, timeout=24 * 3600, epoch=epoch))


def tool_digest(goal: Goal) -> Digest:
    """Of the release's own tool."""
    return next(entry.digest for entry in goal.statement.entries if entry.name == BOOTSTRAP)


@dataclass(frozen=True, kw_only=True)
class Tool:
    goal: Goal

    @property
    def _fact(self) -> Ask[str]:
        return Ask(name="the tool", script=f"readlink {TOOL}/current || :", reading=str.strip, bare="")

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        digest = tool_digest(self.goal)
        have = facts[self._fact]
        if have != digest.hex[:16]:
            why = "the host has no tool" if not have else "the release carries another one"
            yield SendTool(digest=digest, source=self.goal.source, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[self._fact]:
            yield Remove(path=TOOL, whole=True, reason="it is ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """`release` is what the generation in use is called, or nothing; `broken` a view that it lacks; `remembered`:
    the store knows its release, and can make all views of it again from its blobs."""

    release: str = ""
    broken: str = ""
    remembered: bool = False


def _views(said: str) -> Views:
    release, broken, front = (line.strip() for line in said.split("\n")[:3])
    return Views(release=release.rpartition("/")[2], broken=broken, remembered=front == "front")


@dataclass(frozen=True, kw_only=True)
class InUse:
    """The generation in use is the release's, with every view that it must have."""

    goal: Goal

    @property
    def _fact(self) -> Ask[Views]:
        # A view is a folder with something in it; the generation's name says the release and its content.
        views = self.goal.once("store/views", lambda: _views_of(self.goal))
        script = f"""cd {ROOT} 2>/dev/null || {{ printf '\\n\\n\\n'; exit 0; }}
readlink current || echo
for view in {" ".join(map(shlex.quote, views))}
do [ -n "$(ls -A "current/$view" 2>/dev/null)" ] || {{ printf %s "$view"; break; }}; done
echo; [ ! -f state/release.front ] || echo front; echo"""
        return Ask(name="release in use", script=script, reading=_views, bare=Views())

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        release, name = self.goal.statement.release, name_of(self.goal.statement)
        have = facts[self._fact]
        if have.release == name and not have.broken:
            return
        # From its store alone; what the store lacks too is sent before, where there is a bundle to send it from.
        anew = have.remembered and have.release in ("", name)
        if not anew or self.goal.source is not None:
            yield Deliver(
                release=str(release),
                keys=len(self.goal.trust),
                threshold=self.goal.threshold,
                source=self.goal.source,
                reason=_why(have, name),
            )
        if anew:
            text = f"exec {COMMAND} receive --root {ROOT} --anew --quiet"
            yield Run(name=f"make the views of {release} again", text=text, timeout=3600, reason=_why(have, name))

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if purge and facts[self._fact] != Views():
            yield Remove(path=ROOT, whole=True, reason="it holds the releases")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if have := facts[self._fact].release:
            yield f"release {have}"


def _views_of(goal: Goal) -> tuple[str, ...]:
    """Folders that a generation of the release has something in."""
    has = goal.statement
    found = ["statement", "registry/docker/registry/v2/blobs", "registry/docker/registry/v2/repositories"]
    for archive in sorted({site_archive(deb.archive) for deb in has.debs}):
        found += [f"apt/{archive}/dists", f"apt/{archive}/pool"]
    found += ["pypi/simple", "pypi/files"] if has.wheels else []
    found += ["charts/index.yaml", "charts/files"] if has.charts else []
    return (*found, *(["files"] if has.files else []))


def _why(have: Views, name: str) -> str:
    if not have.release:
        return "no release is in use" if have.remembered else "the host has no release"
    return f"{have.broken} is empty or gone" if have.release == name else f"{have.release} is in use"


def needed(source: Source | None) -> Source:
    if source is None:
        advice = "Give the bundle: `bundle install FILE --site site.yaml`."
        raise Usage(message="a site host lacks the release, and no bundle file was given", advice=advice)
    return source


def apt_key(goal: Goal) -> AptKey:
    """The key that all site hosts sign package indexes with."""
    return goal.once("apt key", lambda: ensure_apt_key(goal.vault, create_apt_key, public_armored))


def _tool(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    wrapper = f'#!/bin/sh\nexec python3 -I {TOOL}/current/bootstrap "$@"\n'
    return (Tool(goal=goal), File(path=COMMAND, content=wrapper, mode=0o755))


def _keys(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    trusted = [
        File(path=f"{CONFIG}/trust-{number}.pub", content=key.pem().decode()) for number, key in enumerate(goal.trust)
    ]
    return (
        Folder(path=CONFIG, data=True),  # other components keep files there too
        *trusted,
        Folder(path=ROOT, data=True),
        Folder(path=f"{ROOT}/keys", mode=0o700, data=True),
        File(path=f"{ROOT}/keys/apt.secret.asc", content=apt_key(goal).secret, mode=0o600),
    )


def _release(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (InUse(goal=goal),)


COMPONENT = Component(
    name="store",
    about="The tool, the site's keys and the release on each site host.",
    roles=(SITE_ROLE,),
    steps=(
        Step(name=TOOL_STEP, resources=_tool, roles=(SITE_ROLE,)),
        Step(name="store/keys", resources=_keys, roles=(SITE_ROLE,)),
        Step(name="store/release", resources=_release, roles=(SITE_ROLE,), after=(TOOL_STEP, "store/keys")),
    ),
    space=partial(release_space, root=ROOT, tool=TOOL),
)
