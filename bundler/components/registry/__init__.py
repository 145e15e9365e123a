"""The site's registries: `distribution` on the registry view of the release, read-only, on every site host; and on the
first of them a writable one for what the site builds itself."""

import base64
from collections.abc import Sequence

from bundler.components.registry.endpoint import BUILDS, REGISTRY, keeps_builds, leaf
from bundler.components.registry.health import Answering, service_check
from bundler.components.registry.masked import Masked
from bundler.components.registry.settings import (
    DEBUG_PORT,
    HOSTS,
    SCHEMA,
    WRITABLE_DEBUG_PORT,
    RegistrySettings,
    parse_settings,
)
from bundler.components.store import CONFIG, ROOT
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.secrets.passwords import ensure_htpasswd, random_password
from bundler.steps.render import render
from bundler.steps.resources import File, Folder, Resource, Service
from bundler.steps.step import Component, Goal, Step

PACKAGE = USER = "docker-registry"
UNIT, WRITABLE_UNIT = "bundle-registry.service", "bundle-registry-writable.service"
STEP, WRITABLE_STEP = "registry", "registry/writable"
FOLDER = f"{CONFIG}/registry"
STORAGE = f"{ROOT}/current/registry"
BUILDS_STORAGE = "/var/lib/bundle-registry"
BUILDS_NOTE = f"{BUILDS_STORAGE}/README"
_NOTE = "What this site has built itself. No release has it: keep a backup.\n"


def settings_of(goal: Goal) -> RegistrySettings:
    return goal.site.settings_of("registry", RegistrySettings)


def password_of(goal: Goal, user: str) -> Secret:
    return goal.vault.made(f"registry.password.{user}", random_password)


def hosts_token(goal: Goal) -> Secret | None:
    """`USER:PASSWORD` in base64, as Basic (RFC 7617) has it, of the site's own hosts; None where nobody needs one."""
    if not settings_of(goal).users:
        return None
    known = Secret.of(HOSTS, ":", password_of(goal, HOSTS))
    return Secret(base64.b64encode(known.reveal().encode()).decode())


def htpasswd(goal: Goal, users: Sequence[str]) -> Secret:
    lines = [ensure_htpasswd(goal.vault, f"registry.htpasswd.{user}", user, password_of(goal, user)) for user in users]
    return Secret.of(*lines)


def configuration(
    goal: Goal,
    *,
    writable: bool,
    folder: str = FOLDER,
    storage: str = "",
    port: int = 0,
    debug_port: int = 0,
) -> str:
    """The configuration of `distribution`, for 2.8 and 3; a test has other folders and ports.

    The writable one always wants a password: whoever can push to it decides what the site's hosts run, and its users
    are few and known. Pulling from it needs one too, for clients ask at /v2/, before they say what for; the site's own
    hosts have none for it, for whoever may pull there may push.
    """
    settings = settings_of(goal)
    authenticated = writable or bool(settings.users)
    return render(
        __package__,
        "config.yml.j2",
        writable=writable,
        folder=folder,
        storage=storage or (BUILDS_STORAGE if writable else STORAGE),
        htpasswd=f"{folder}/{'builders' if writable else 'users'}" if authenticated else "",
        realm=goal.site.domain,
        port=port or (settings.writable_port if writable else settings.port),
        debug_port=debug_port or (WRITABLE_DEBUG_PORT if writable else DEBUG_PORT),
    )


def _own(name: str, content: str | Secret, *, mode: int = 0o400, units: tuple[str, ...] = ()) -> File:
    """A file of the registry's user."""
    return File(path=f"{FOLDER}/{name}", content=content, mode=mode, owner=USER, group=USER, units=units)


def _tls(goal: Goal, host: SiteHost) -> tuple[File, File]:
    """The certificate and its key, of both registries."""
    names = (REGISTRY, BUILDS) if keeps_builds(goal.site, host) else (REGISTRY,)
    made = leaf(goal, host, "registry", *names)
    return (
        _own("tls.crt", made.certificate, mode=0o444, units=(WRITABLE_UNIT,)),
        _own("tls.key", made.key, units=(WRITABLE_UNIT,)),
    )


def _unit(unit: str, *, about: str, config: str, storage: str = "") -> File:
    text = render(
        __package__, "unit.j2", unit=unit, about=about, user=USER, config=f"{FOLDER}/{config}", storage=storage
    )
    return File(path=f"/etc/systemd/system/{unit}", content=text)


def _registry(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    settings = settings_of(goal)
    users = (_own("users", htpasswd(goal, (*settings.users, HOSTS))),) if settings.users else ()
    return (
        Masked(unit=f"{PACKAGE}.service", why="the package's own registry would be in the way"),
        goal.packages("registry", PACKAGE),
        Folder(path=FOLDER),
        Service(
            unit=UNIT,
            files=(
                *_tls(goal, host),
                *users,
                File(path=f"{FOLDER}/config.yml", content=configuration(goal, writable=False)),
                _unit(UNIT, about="the registry of what the release carries", config="config.yml"),
            ),
            ports=(settings.port, DEBUG_PORT),
        ),
    )


def _writable(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    if not keeps_builds(goal.site, host):
        return ()
    settings = settings_of(goal)
    config = configuration(goal, writable=True)
    return (
        Folder(path=BUILDS_STORAGE, mode=0o750, owner=USER, group=USER, data=True),
        Service(
            unit=WRITABLE_UNIT,
            files=(
                # When the folder was removed and made again, the unit still has the one before: this file is gone then.
                File(path=BUILDS_NOTE, content=_NOTE, owner=USER, group=USER),
                _own("builders", htpasswd(goal, settings.builders)),
                File(path=f"{FOLDER}/writable.yml", content=config),
                _unit(
                    WRITABLE_UNIT,
                    about="the registry of what the site builds itself",
                    config="writable.yml",
                    storage=BUILDS_STORAGE,
                ),
            ),
            uses=_tls(goal, host),
            ports=(settings.writable_port, WRITABLE_DEBUG_PORT),
        ),
    )


def _known(goal: Goal) -> tuple[tuple[str, Digest | None], ...]:
    """A manifest of the release and its smallest blob, behind what every client asks first."""
    if not goal.lock.images:
        return (("/v2/", None),)
    image = goal.lock.images[0]
    place = f"/v2/{image.reference.site_repository}"
    blob = min(image.blobs, key=lambda blob: blob.size)
    return (
        ("/v2/", None),
        (f"{place}/manifests/{image.root.digest}", image.root.digest),
        (f"{place}/blobs/{blob.digest}", blob.digest),
    )


def _answering(goal: Goal, host: SiteHost) -> Answering:
    settings = settings_of(goal)
    if settings.users:  # the check has no password: scripts would carry it
        return Answering(unit=UNIT, step=STEP, port=settings.port, known=(("/v2/", None),), status=401)
    return Answering(unit=UNIT, step=STEP, port=settings.port, known=_known(goal))


def _writable_answering(goal: Goal, host: SiteHost) -> Answering | None:
    if not keeps_builds(goal.site, host):
        return None
    port = settings_of(goal).writable_port
    return Answering(unit=WRITABLE_UNIT, step=WRITABLE_STEP, port=port, known=(("/v2/", None),), status=401)


COMPONENT = Component(
    name="registry",
    about="The site's registries (distribution).",
    steps=(
        Step(name=STEP, resources=_registry, roles=(SITE_ROLE,), after=("base/sources",)),
        Step(name=WRITABLE_STEP, resources=_writable, roles=(SITE_ROLE,), after=(STEP,)),
    ),
    settings=parse_settings,
    schema=SCHEMA,
    health=(
        service_check("registry", STEP, _registry, _answering),
        service_check("writable registry", WRITABLE_STEP, _writable, _writable_answering),
    ),
    units=(UNIT, WRITABLE_UNIT),
    roles=(SITE_ROLE,),
)
