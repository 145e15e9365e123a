"""How unmodified clients are told to use the site: the text of their own configuration files."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from bundler.model.reference import site_host
from bundler.model.sitenames import ARTIFACTS, COMPONENT


def pip_options(base: str) -> str:
    """Options for pip; plain HTTP needs the host named as trusted."""
    url = urlsplit(base)
    trusted = f" --trusted-host {url.netloc}" if url.scheme == "http" else ""
    return f"--index-url {base}/pypi/simple/{trusted}"


def pip_config(base: str, ca: str) -> str:
    """`pip.conf`: the site's index as the only one."""
    return f"[global]\nindex-url = {base}/pypi/simple/\ncert = {ca}\ndisable-pip-version-check = true\n"


def uv_config(base: str) -> str:
    """`uv.toml`; for uv 0.11 and later. It takes no file of certificates: the system must trust the site's."""
    return f'system-certs = true\n\n[[index]]\nname = "bundle"\nurl = "{base}/pypi/simple/"\ndefault = true\n'


def apt_sources(*, uri: str, release: str, signed_by: str) -> str:
    """A deb822 stanza (sources.list(5)). `signed_by` is a key file's path or (apt 2.4 and later) the armored key."""
    fields = {"Types": "deb", "URIs": uri, "Suites": release, "Components": COMPONENT}
    written = "".join(f"{name}: {value}\n" for name, value in fields.items())
    if "\n" not in signed_by:
        return f"{written}Signed-By: {signed_by}\n"
    key = "".join(f" {line or '.'}\n" for line in signed_by.strip().splitlines())
    return f"{written}Signed-By:\n{key}"


def containerd_hosts(
    base: str, *, mirrors: Sequence[str] = (), namespace: str = "", ca: str = "", authorization: str = ""
) -> str:
    """`hosts.toml` in certs.d/<registry host>/; containerd adds `?ns=<registry host>` by itself.

    `mirrors` are tried before `base`. `namespace` is what a registry that does not know `ns` has these images below,
    `ca` a file of certificates, `authorization` the header of that name: it goes with every request, so that nobody is
    asked who it is.
    Without `server` it would try the real registry last, for half a minute; without a host table 1.6 refuses the file.
    What holds for `server` stands at the top, and takes the place of its table if it has one.
    """
    tail = f"/v2/{namespace}" if namespace else ""
    options = ["override_path = true"] if namespace else []
    options += [f'ca = "{ca}"'] if ca else []
    header = f'Authorization = "{authorization}"\n' if authorization else ""
    text = "".join(f"{line}\n" for line in (f'server = "{base}{tail}"', *options))
    text += header and f"\n[header]\n  {header}"
    for url in mirrors or (base,):
        lines = ['capabilities = ["pull", "resolve"]', *options]
        text += f'\n[host."{url}{tail}"]\n' + "".join(f"  {line}\n" for line in lines)
        text += header and f'  [host."{url}{tail}".header]\n    {header}'
    return text


def podman_registries(base: str, registry: str) -> str:
    """A drop-in of registries.conf.d for one registry host (containers-registries.conf(5))."""
    url = urlsplit(base)
    insecure = "insecure = true\n" if url.scheme == "http" else ""
    return f'[[registry]]\nprefix = "{registry}"\nlocation = "{url.netloc}/{site_host(registry)}"\n{insecure}'


def helm_repository(base: str) -> str:
    """The command that makes all charts known to Helm by their names."""
    return f"helm repo add bundle {base}/charts"


def helm_repositories(base: str, ca: str) -> str:
    """An entry of Helm's `repositories.yaml`."""
    return f"- caFile: {ca}\n  name: bundle\n  url: {base}/charts\n"


def helm_pull(base: str, chart: str, tag: str) -> str:
    """The command that gets one chart from the site's registry; Helm has no mirror setting."""
    url = urlsplit(base)
    plain = " --plain-http" if url.scheme == "http" else ""
    return f"helm pull oci://{url.netloc}/{ARTIFACTS}/chart/{chart} --version {tag.replace('_', '+')}{plain}"
