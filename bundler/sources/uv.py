"""The resolver for wheels: `uv pip compile`, told everything, so that it reads no configuration of its own."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from bundler.errors import ResolutionFailed, ToolMissing
from bundler.support.run import Outcome, run

NEEDED_FOR = "resolving wheels"
_TIMEOUT = 600.0  # seconds for one resolution; uv itself gives up on a silent index after half a minute
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
_USERINFO = re.compile(r"(?<=://)[^/\s]+@")

# Variables that say how to reach the network and where to cache. Any other of uv's could add an index, files or
# constraints that nobody sees in the profile.
_HEEDED = {"UV_CACHE_DIR", "UV_HTTP_TIMEOUT", "UV_NATIVE_TLS", "UV_OFFLINE", "UV_SYSTEM_CERTS"}
# uv asks sysconfig where it is; before Python 3.12 that fills its table without a lock, and threads read half of it.
_FINDING = threading.Lock()

Pins = Mapping[NormalizedName, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to resolve, and for what: `platform` is uv's name of it (`x86_64-manylinux_2_36`).

    `constraints` are bounds on projects that something else may ask for.
    """

    requirements: Sequence[str]
    constraints: Sequence[str]
    python: str
    platform: str


def compile_requirements(wanted: Wanted, *, index: str, pins: Pins, refresh: bool) -> Pins:
    """The closure of `wanted` from an index: version by normalised project name.

    Versions in `pins` are preferred to newer ones. Raises ResolutionFailed with the resolver's own words, without
    the index's credentials.
    """
    # uv takes the pins of an output file that is there as preferences.
    preferred = [f"{name}=={version}" for name, version in pins.items()]
    return _compile(wanted, preferred, *(["--refresh"] if refresh else []), index=index)


def compile_from_files(wanted: Wanted, folder: Path) -> Pins:
    """The closure of `wanted` from the wheels in a folder alone, without network or cache. Raises ResolutionFailed."""
    return _compile(wanted, (), "--no-index", f"--find-links={folder}", "--offline", "--no-cache", index="")


def _compile(wanted: Wanted, preferred: Iterable[str], *options: str, index: str) -> Pins:
    with tempfile.TemporaryDirectory(prefix="bundle-uv-") as scratch:
        asked, bounds, output = (Path(scratch, name) for name in ("asked.in", "constraints.txt", "pins.txt"))
        asked.write_text(_lines(wanted.requirements), encoding="utf-8")
        bounds.write_text(_lines(wanted.constraints), encoding="utf-8")
        output.write_text(_lines(preferred), encoding="utf-8")
        outcome = _uv(
            "compile",
            "--only-binary=:all:",
            f"--python-version={wanted.python}",
            f"--python-platform={wanted.platform}",
            "--no-annotate",
            f"--constraints={bounds}",
            *options,
            f"--output-file={output}",
            str(asked),
            index=index,
        )
        if outcome.code != 0:
            text = _USERINFO.sub("", outcome.tail())
            raise ResolutionFailed(what=f"wheels for Python {wanted.python} on {wanted.platform}", output=text)
        return _read_pins(output.read_text(encoding="utf-8"))


def default_index() -> str:
    """The index that the resolver would use by itself: it is asked, with nothing to resolve and no network."""
    outcome = _uv("compile", "--offline", "--emit-index-url", "-", index="")
    for line in outcome.stdout.splitlines():
        if line.startswith("--index-url "):
            return line.removeprefix("--index-url ").strip()
    raise ResolutionFailed(what="the package index", output=_USERINFO.sub("", outcome.tail()))


def _uv(command: str, *arguments: str, index: str) -> Outcome:
    environment: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("UV_") and name not in _HEEDED
    }
    # By the environment, because a command line, with an index's credentials in it, is public.
    environment["UV_DEFAULT_INDEX"] = index or None
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle and "SSL_CERT_FILE" not in os.environ:
        environment["SSL_CERT_FILE"] = bundle  # one private CA for both our transport and uv
    return run(
        [_uv_program(), "pip", command, "--quiet", "--no-config", "--no-header", "--no-python-downloads",
         f"--python={sys.executable}", *arguments],
        needed_for=NEEDED_FOR,
        timeout=_TIMEOUT,
        environment=environment,
    )  # fmt: skip


def _uv_program() -> str:
    try:
        from uv import find_uv_bin
    except ImportError:
        return "uv"
    try:
        with _FINDING:
            return str(find_uv_bin())
    except FileNotFoundError:
        raise ToolMissing(tool="uv", needed_for=NEEDED_FOR) from None


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _read_pins(text: str) -> Pins:
    pins: dict[NormalizedName, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _PINNED.fullmatch(line)
        if match is None:
            raise ResolutionFailed(what="wheels", output=f"uv wrote a line that is no pin: {line[:200]}")
        pins[canonicalize_name(match[1])] = match[2]
    return pins
