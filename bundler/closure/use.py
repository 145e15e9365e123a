"""What a scan finds: one image name at one place."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto

from bundler.model.reference import Reference


class Found(StrEnum):
    """How an image was found."""

    POD = "pod spec"
    VOLUME = "image volume"
    FIELD = "field"
    ARGUMENT = "argument"
    ENVIRONMENT = "environment"
    CONFIG_MAP = "config map"
    SECRET = auto()
    DEFAULT = "CRD default"
    ANNOTATION = "annotation"
    VALUES = "values, not rendered"


class Certainty(IntEnum):
    """How sure it is that this names an image: the shape alone; a place that says image; what the kubelet pulls."""

    GUESS = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where: the source (a chart's template, a file), the object ("Deployment shop/web") and the path in it."""

    source: str
    object: str = ""
    path: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.object, self.path) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An image name at a place: `text` as it was found; without a `reference` where the text is none or is computed.

    `pull_policy` is the one written beside it, or empty.
    """

    text: str
    reference: Reference | None
    place: Place
    found: Found
    certainty: Certainty
    computed: bool = False
    pull_policy: str = ""

    @property
    def image(self) -> str:
        """The canonical name, or the text where there is none."""
        return str(self.reference) if self.reference else self.text
