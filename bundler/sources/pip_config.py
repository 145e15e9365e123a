"""The address of the package index: `--upstream pypi=URL`, pip's own configuration, or the resolver's default."""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bundler.errors import NotReadable
from bundler.sources.uv import default_index
from bundler.transport import Upstreams

ROLE = "pypi"


def index_url(upstreams: Upstreams, *, environment: Mapping[str, str] | None = None) -> str:
    """The index's base URL without a slash at its end, its credentials included: never to be shown or locked."""
    known = os.environ if environment is None else environment
    found = upstreams.base(ROLE) or known.get("PIP_INDEX_URL") or _configured(known) or default_index()
    return found.rstrip("/")


def _configured(environment: Mapping[str, str]) -> str | None:
    """`index-url` of pip's configuration files; a later file wins, and in a file the `install` section.

    Order and places: pip's documentation, "Configuration", and `Configuration.iter_config_files` in its source.
    """
    found = None
    for path in _files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise NotReadable(path=str(path), why=str(error).splitlines()[0]) from None
        for section in ("global", "install"):
            found = parser.get(section, "index-url", fallback=None) or found
    return found


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    if chosen:
        yield Path(chosen)
    system = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    yield from (Path(folder, "pip", "pip.conf") for folder in reversed(system.split(os.pathsep)) if folder)
    yield Path("/etc/pip.conf")
    if not (chosen and Path(chosen).exists()):
        home = Path(environment.get("HOME") or Path.home())
        yield home / ".pip" / "pip.conf"
        yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
