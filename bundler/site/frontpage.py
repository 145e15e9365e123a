"""The page at `/`: what the site has, and how clients are pointed at it."""

import html
import re

from bundler.model.sitenames import ARTIFACTS
from bundler.site.http import Request
from bundler.site.served import Generation
from bundler.views.clients import (
    apt_sources,
    containerd_hosts,
    helm_pull,
    helm_repository,
    pip_options,
    podman_registries,
)
from bundler.views.registry import ROOT, tags_path

_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")


def front_page(request: Request, generation: Generation, *, scheme: str) -> bytes:
    """HTML. The address in it is the one that the client used."""
    host = request.fields.get("host", "")
    base = f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"
    sections = (
        ("Python packages", _pip(base, generation)),
        ("Debian packages", _apt(base, generation)),
        ("Container images", _images(base, generation)),
        ("Helm charts", _charts(base, generation)),
        ("Files", _files(base, generation)),
    )
    body = "".join(f"<h2>{title}</h2>\n<pre>{html.escape(text)}</pre>\n" for title, text in sections if text)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>bundle</title>\n</head>\n<body>\n'
        f"<h1>This site's packages, images, charts and files</h1>\n{body}</body>\n</html>\n"
    ).encode()


def _pip(base: str, generation: Generation) -> str:
    return f"pip install {pip_options(base)} NAME\n" if len(generation.names("pypi/simple")) > 2 else ""


def _apt(base: str, generation: Generation) -> str:
    found = []
    for archive in generation.names("apt"):
        key = f"/etc/apt/keyrings/bundle-{archive}.asc"
        uri = f"{base}/apt/{archive}"
        for release in generation.names(f"apt/{archive}/dists"):
            if generation.holds(f"apt/{archive}/dists/{release}/InRelease"):
                stanza = apt_sources(uri=uri, release=release, signed_by=key)
                name = f"/etc/apt/sources.list.d/bundle-{archive}-{release}.sources"
                found.append(f"# {name}, key: {uri}/key.asc\n{stanza}")
    return "\n".join(found)


def _images(base: str, generation: Generation) -> str:
    hosts = [name.replace("_", ":") for name in generation.names(f"{ROOT}/repositories") if name != "bundle"]
    return "\n".join(
        f"# podman: /etc/containers/registries.conf.d/{host}.conf\n{podman_registries(base, host)}"
        f"# containerd: /etc/containerd/certs.d/{host}/hosts.toml\n{containerd_hosts(base)}"
        for host in hosts
    )


def _charts(base: str, generation: Generation) -> str:
    names = generation.names(f"{ROOT}/repositories/{ARTIFACTS}/chart")
    versions = [(name, generation.names(tags_path(f"{ARTIFACTS}/chart/{name}"))) for name in names]
    pulls = (helm_pull(base, name, tag) for name, tags in versions for tag in tags)
    return "".join(f"{line}\n" for line in (helm_repository(base), *pulls)) if names else ""


def _files(base: str, generation: Generation) -> str:
    return "".join(f"{base}/files/{name}\n" for name in generation.names("files"))
