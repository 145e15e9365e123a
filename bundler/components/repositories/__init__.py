"""The site's repositories: nginx on every site host, with the packages, charts and files of the release in use."""

from collections.abc import Sequence

from bundler.components.registry.endpoint import REPOSITORIES, leaf
from bundler.components.registry.health import Answering, service_check
from bundler.components.repositories.nginx import FOLDER, configuration
from bundler.model.digest import Digest
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.model.sitenames import CHECKSUMS, site_archive
from bundler.steps.render import render
from bundler.steps.resources import File, Folder, Resource, Service
from bundler.steps.step import Component, Goal, Step

STEP, PACKAGES, UNIT, PORT = "repositories", "repositories/packages", "nginx.service", 443
_SMALL = 4 << 20  # bytes that a health check may read


def _packages(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (goal.packages("repositories", "nginx", masked=(UNIT,)),)


def _resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    made = leaf(goal, host, "repositories", REPOSITORIES)
    text = configuration(host.address, goal.site.domain, port=PORT)
    return (
        Folder(path=FOLDER),
        Service(
            unit=UNIT,
            files=(
                File(path=f"{FOLDER}/tls.crt", content=made.certificate),
                File(path=f"{FOLDER}/tls.key", content=made.key, mode=0o400),
                # The package's own, with its default site, is kept aside.
                File(path="/etc/nginx/nginx.conf", content=text, keep=True, after=PACKAGES),
                File(path=f"/etc/systemd/system/{UNIT}.d/bundle.conf", content=render(__package__, "drop-in.j2")),
            ),
            ports=(PORT,),
            # `nginx -s reload` reads the configuration first: one that is wrong leaves the running one as it is.
            reload=True,
        ),
    )


def _answering(goal: Goal, host: SiteHost) -> Answering:
    return Answering(unit=UNIT, step=STEP, port=PORT, known=goal.once("repositories/known", lambda: _known(goal)))


def _known(goal: Goal) -> tuple[tuple[str, Digest | None], ...]:
    """One thing of each kind that the release has; of files a whole one, with its digest."""
    lock = goal.lock
    found: list[tuple[str, Digest | None]] = [("/healthz", None), ("/charts/index.yaml", None), ("/pypi/simple/", None)]
    found += [(f"/apt/{site_archive(deb.archive)}/dists/{deb.release}/InRelease", None) for deb in lock.debs[:1]]
    small = min(lock.files, key=lambda file: file.size, default=None)
    if small is None or small.size > _SMALL:
        found.append((f"/files/{CHECKSUMS}", None))
    else:
        found.append((f"/files/{small.name}", small.digest))
    return tuple(found)


COMPONENT = Component(
    name="repositories",
    about="The site's package archives, indexes, charts and files (nginx).",
    steps=(
        Step(name=PACKAGES, resources=_packages, roles=(SITE_ROLE,), after=("base/sources",)),
        Step(name=STEP, resources=_resources, roles=(SITE_ROLE,), after=(PACKAGES,)),
    ),
    health=(service_check("repositories", STEP, _resources, _answering),),
    units=(UNIT,),
    roles=(SITE_ROLE,),
)
