"""Watch: `bundle watch` as a service on each site host, with what it needs to mend the host by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.store import COMMAND, CONFIG, tool_digest
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.secrets.unlock import random_key
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import File, Resource, Service
from bundler.steps.step import Component, Goal, Step

UNIT = "bundle-watch.service"
SITE = f"{CONFIG}/site.yaml"
SECRETS = f"{CONFIG}/site.secrets"

_UNIT_TEXT = """\
# Written by bundle, for the tool {tool}: another tool is another text, and a restart.
[Unit]
Description=Recovery of this site host's own services
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command} watch --site {site} --here {host}
Restart=always
RestartSec=1
# It ends after its look: what it runs is not cut off in the middle.
KillMode=mixed
TimeoutStopSec=30
MemoryMax=512M
OOMScoreAdjust=-100

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """The site's secrets, sealed with a key of their own for site hosts; brought again when one of them changes."""

    goal: Goal

    @property
    def _fact(self) -> Ask[str]:
        script = f"[ ! -f {SECRETS} ] || cat {SECRETS}.of 2>/dev/null || :"
        return Ask(name="the secrets of watch", script=script, reading=str.strip, bare="")

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have, digest = facts[self._fact], self.goal.vault.digest()
        if have == digest:
            return
        text = f"""umask 077; f={SECRETS}
cat > "$f.new" && rm -f "$f.of" && sync "$f.new" && mv "$f.new" "$f" || exit 1
echo {digest} > "$f.of.new" && sync "$f.of.new" && mv "$f.of.new" "$f.of"
"""
        sealed = self.goal.vault.sealed(_key(self.goal))
        why = "the host has none" if not have else "a secret is another one"
        yield Run(name=f"bring {SECRETS}", text=text, stdin=sealed, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[self._fact]:
            for path in (f"{SECRETS}.of", SECRETS):
                yield Remove(path=path, reason="only watch needs it here")


def _key(goal: Goal) -> Secret:
    return goal.vault.made("watch.key", random_key)


def _resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    unit = _UNIT_TEXT.format(command=COMMAND, site=SITE, host=host.name, tool=tool_digest(goal).hex[:16])
    return (
        File(path=f"{SECRETS}.key", content=_key(goal), mode=0o600),
        Secrets(goal=goal),
        Service(
            unit=UNIT,
            files=(
                File(path=SITE, content=goal.text, mode=0o600),
                File(path=f"/etc/systemd/system/{UNIT}", content=unit),
            ),
        ),
    )


COMPONENT = Component(
    name="watch",
    about="Recovery: health checks and remedies, run on each site host.",
    roles=(SITE_ROLE,),
    steps=(Step(name="watch", resources=_resources, roles=(SITE_ROLE,), last=True),),
    units=(UNIT,),
)
