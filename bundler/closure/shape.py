"""What a single text looks like: an image name, one with a hole in it, or none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bundler.closure.use import Certainty
from bundler.errors import Malformed
from bundler.model.reference import Reference

# Holes that something fills later: $(KUBELET), ${SHELL}, $SHELL, {{ go }}, %WIN%, {python}, __sed__
HOLE = (
    r"\$\([A-Za-z_][\w.-]*\)|\$\{[^{}\n]*\}|\$[A-Za-z_]\w*|\{\{[^{}\n]*\}\}"
    r"|%[A-Z_]+%|\{[A-Za-z_][\w.]*\}|__[A-Za-z]\w*__"
)
_HOLE = re.compile(HOLE)
_FILLED = "x0"  # stands for any hole: good as a host, a path component and a tag
_VARIABLE = re.compile(
    r"\$(?:\((?P<a>[A-Za-z_][\w.-]*)\)|\{(?P<b>[A-Za-z_]\w*)(?::?-(?P<default>[^{}$]*))?\}|(?P<c>[A-Za-z_]\w*))"
)
_TRANSPORT = re.compile(r"(?:docker-image|docker-pullable|docker|oci)://")
_NOT_IMAGES = re.compile(
    r"\.(?:png|jpe?g|gif|svg|ico|webp|bmp|iso|img|qcow2|raw|vmdk|vhdx?|ova|tar|tgz|gz|bz2|xz|zst|zip"
    r"|ya?ml|json|js|css|html?|sh|py|so|md|txt|conf|git)$"
)
_CODE_HOSTS = frozenset(("github.com", "gitlab.com", "bitbucket.org", "golang.org", "gopkg.in", "sigs.k8s.io"))
_TAINTS = frozenset(("NoSchedule", "NoExecute", "PreferNoSchedule"))
_HOST = re.compile(r"localhost|.*:\d+|(?:.*\.)?[a-z][a-z0-9-]*\.[a-z]{2,}", re.IGNORECASE)
_REGISTRY = re.compile(r"(?:docker|quay|ghcr|gcr|nvcr|registry|public\.ecr|mcr)(?:\.[\w-]+)+(?::\d+)?/[^/]+/.")
_VERSION = re.compile(r"(?:[a-z]+[-_.])*v?\d+(?:[.\-_+][A-Za-z0-9]+)*|v\d\w*|latest|stable|edge|nightly|main|master")
_LONGEST = 512  # more than any reference has


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A text that may be an image name. `reference` is None for one with holes.

    `tagged`: a tag or digest is written; `hosted`: a registry is; `pathed`: a slash is; `pulled`: docker:// or oci://.
    """

    text: str
    reference: Reference | None
    tagged: bool
    hosted: bool
    pathed: bool
    pulled: bool

    @property
    def computed(self) -> bool:
        return self.reference is None

    @property
    def port(self) -> bool:
        """`name:8080`, which is a port as well as a tag."""
        return not self.pathed and self.tagged and self.text.rpartition(":")[2].isdigit()


def name_of(text: str) -> Named | None:
    """Read a text as an image name; None for what cannot be one."""
    text = text.strip()
    found = _TRANSPORT.match(text)
    bare = text[found.end() :] if found else text
    if not bare or len(bare) > _LONGEST or "://" in bare or _NOT_IMAGES.search(bare):
        return None
    whole, reference = bare, _parse(bare)
    if reference is None:
        whole = _HOLE.sub(_FILLED, bare).removesuffix(f"@{_FILLED}")
        if whole == bare or _parse(whole) is None:
            return None
    first, slash, _ = whole.partition("/")
    return Named(
        text=text,
        reference=reference,
        tagged="@" in bare or ":" in whole.rpartition("/")[2],
        hosted=bool(slash) and _HOST.fullmatch(first) is not None and first not in _CODE_HOSTS,
        pathed=bool(slash),
        pulled=found is not None,
    )


def _parse(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except Malformed:
        return None


def by_shape(text: str) -> tuple[Named, Certainty] | None:
    """An image by its shape alone: `host.tld/path:1.2`, `name@sha256:…` and `docker://name` are likely, `name:1.2` is a
    guess, and so is `quay.io/x/y` without a tag."""
    named = name_of(text)
    if named and not named.tagged and named.reference:
        if text.startswith("docker"):
            return (named, Certainty.LIKELY) if named.pulled else None
        return (named, Certainty.GUESS) if _REGISTRY.match(text) else None
    if named is None or not named.tagged or (text[0] in "$%{_" and not named.pathed):
        return None
    last = named.text.rpartition("/")[2]
    if "@" in last or named.pulled:
        return named, Certainty.LIKELY
    tag = last.rpartition(":")[2]
    version = _VERSION.fullmatch(tag) is not None or _HOLE.search(tag) is not None
    if tag in _TAINTS or named.port or not (version or named.hosted):
        return None
    if named.hosted and version and not tag.isdigit():
        return named, Certainty.LIKELY
    first = named.text.partition("/")[0]
    if named.computed or first in _CODE_HOSTS or not first[:1].isalpha():
        return None
    return named, Certainty.GUESS


def by_key(text: str, *, exact: bool) -> tuple[Named, Certainty] | None:
    """An image because its key says so; a word without tag or path only where the key is `image` itself (`exact`)."""
    named = name_of(text)
    if named is None or (named.reference and named.text.replace(".", "").isdigit()):
        return None
    if _HOLE.fullmatch(named.text) or not (exact or named.tagged or named.pathed):
        return named, Certainty.GUESS
    return named, Certainty.LIKELY


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)`, `$NAME`, `${NAME}` and `${NAME:-default}` filled from what is known; the rest stays as it is.

    A value longer than any image name is not filled in: variables made of variables would grow without end.
    """

    def value(match: re.Match[str]) -> str:
        known = variables.get(match["a"] or match["b"] or match["c"]) or match["default"]
        return match[0] if known is None or len(known) > _LONGEST else known

    return _VARIABLE.sub(value, text) if "$" in text else text


def pattern_of(text: str) -> re.Pattern[str] | None:
    """The canonical names that a text with holes may become; None where nothing of the repository's name is fixed."""
    bare = _TRANSPORT.sub("", text.strip())
    name = _HOLE.sub("\0", bare).partition("@")[0]
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if not re.search(r"[a-z0-9]{2}", last):
        return None
    hosted = name.startswith("\0") or (slash and _HOST.fullmatch(head.partition("/")[0]))
    default = "" if hosted else r"docker\.io/(?:library/)?"
    body = re.escape(head + slash + last).replace("\0", ".+")
    tagged = ":" + re.escape(tag).replace("\0", ".+") if colon else r"(?::.+)?"
    return re.compile(f"{default}{body}{tagged}(?:@.+)?")
