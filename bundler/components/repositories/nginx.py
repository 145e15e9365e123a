"""nginx' configuration: what `bundle serve` answers for packages, by the program that serves many.

The rules are those of `bundler.site.routes`; two things are left out: a page that lists everything, and the redirect
from a project's other spellings, which clients must not rely on (PEP 503).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bundler.components.store import CONFIG, ROOT
from bundler.model.site import Address
from bundler.site.routes import KINDS, TEXTS
from bundler.steps.render import render
from bundler.views.carry import CONTENT_ADDRESSED

FOLDER = f"{CONFIG}/repositories"
_JOURNAL = "syslog:server=unix:/dev/log,nohostname,tag=nginx"  # which keeps within its own bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of a project's page: what clients ask for (a pattern), and what is sent."""

    name: str
    pattern: str
    type: str
    file: str


_SIMPLE = (  # what wins among equals first, what is sent by default last
    Form(
        name="json",
        pattern=r"application/vnd\.pypi\.simple\.(?:v1|latest)\+json",
        type="application/vnd.pypi.simple.v1+json",
        file="index.json",
    ),
    Form(
        name="html",
        pattern=r"application/vnd\.pypi\.simple\.(?:v1|latest)\+html",
        type="application/vnd.pypi.simple.v1+html; charset=utf-8",
        file="index.html",
    ),
    Form(name="plain", pattern=r"text/html|text/\*|\*/\*", type="text/html; charset=utf-8", file="index.html"),
)


def configuration(
    address: Address,
    domain: str,
    *,
    port: int,
    folder: str = FOLDER,
    root: str = ROOT,
    pid: str = "/run/nginx.pid",
    log: str = "",
) -> str:
    """The whole of nginx.conf, for nginx 1.18 and later; a test has other places, and a `log` file."""
    return render(
        __package__,
        "nginx.conf.j2",
        # For an IPv6 host both families; where the kernel has none of it, [::] would keep nginx from starting.
        listen=port if address.version == 4 else f"[::]:{port} ipv6only=off",
        domain=domain,
        folder=folder,
        root=root,
        pid=pid,
        access_log=log or _JOURNAL,
        error_log=log or _JOURNAL,
        kinds=[(ending.removeprefix("."), kind) for ending, kind in sorted(KINDS.items())],
        texts=TEXTS,
        immutable=[pattern for pattern in CONTENT_ADDRESSED if not pattern.startswith("registry")],
        simple=_SIMPLE,
        weights=tuple(_weights()),
    )


def _weights() -> Iterator[str]:
    """Patterns of what follows a media type in an Accept field, the greatest weights first; 0 is none of them."""
    yield r"(?:,|$|;\s*q=1|;(?![^,]*\bq=))"
    for tenth in range(9, 0, -1):
        yield rf";[^,]*\bq=0\.{tenth}"
    yield r";[^,]*\bq=0\.0[0-9]?[1-9]"
