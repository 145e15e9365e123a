"""How unmodified clients are told to use the site: the text of their own configuration files."""

from urllib.parse import urlsplit

from bundler.model.reference import site_host
from bundler.model.sitenames import ARTIFACTS, COMPONENT


def pip_options(base: str) -> str:
    """Options for pip; plain HTTP needs the host named as trusted."""
    url = urlsplit(base)
    trusted = f" --trusted-host {url.netloc}" if url.scheme == "http" else ""
    return f"--index-url {base}/pypi/simple/{trusted}"


def apt_sources(*, uri: str, release: str, signed_by: str) -> str:
    """A deb822 stanza (sources.list(5)). `signed_by` is a key file's path or (apt 2.4 and later) the armored key."""
    fields = {"Types": "deb", "URIs": uri, "Suites": release, "Components": COMPONENT}
    written = "".join(f"{name}: {value}\n" for name, value in fields.items())
    if "\n" not in signed_by:
        return f"{written}Signed-By: {signed_by}\n"
    key = "".join(f" {line or '.'}\n" for line in signed_by.strip().splitlines())
    return f"{written}Signed-By:\n{key}"


def containerd_hosts(base: str) -> str:
    """`hosts.toml` in certs.d/<registry host>/; containerd adds `?ns=<registry host>` by itself.

    Without `server` it would try the real registry last, for half a minute; without a host table 1.6 refuses the file.
    """
    return f'server = "{base}"\n\n[host."{base}"]\n  capabilities = ["pull", "resolve"]\n'


def podman_registries(base: str, registry: str) -> str:
    """A drop-in of registries.conf.d for one registry host (containers-registries.conf(5))."""
    url = urlsplit(base)
    insecure = "insecure = true\n" if url.scheme == "http" else ""
    return f'[[registry]]\nprefix = "{registry}"\nlocation = "{url.netloc}/{site_host(registry)}"\n{insecure}'


def helm_repository(base: str) -> str:
    """The command that makes all charts known to Helm by their names."""
    return f"helm repo add bundle {base}/charts"


def helm_pull(base: str, chart: str, tag: str) -> str:
    """The command that gets one chart from the site's registry; Helm has no mirror setting."""
    url = urlsplit(base)
    plain = " --plain-http" if url.scheme == "http" else ""
    return f"helm pull oci://{url.netloc}/{ARTIFACTS}/chart/{chart} --version {tag.replace('_', '+')}{plain}"
