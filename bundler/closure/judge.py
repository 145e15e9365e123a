"""Whether every image that will be asked for is carried. Pure: uses and a lock's images in, findings out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bundler.closure.shape import name_of, pattern_of
from bundler.closure.use import Certainty, Found, Place, Use
from bundler.model.component import Silence
from bundler.model.digest import Digest
from bundler.model.reference import Reference


class Kind(StrEnum):
    """What is wrong with an image."""

    MISSING = "missing"
    OTHER_DIGEST = "other-digest"
    COMPUTED = "computed"
    UNREADABLE = "unreadable"
    ALWAYS_PULL = "always-pull"
    LATEST = "latest"
    NOT_RENDERED = "not-rendered"
    UNUSED_SILENCE = "unused-silence"


class Severity(StrEnum):
    """An error: the site would come up short. A warning: it may. A hint: it would with other values."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One image and what is wrong with it, with all its places."""

    kind: Kind
    severity: Severity
    image: str
    where: tuple[str, ...]
    why: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """An image of the lock: its reference, the digest of its root and those of its platforms' manifests."""

    reference: Reference
    digests: frozenset[Digest]


_ADD = "Name it in the component's images, or silence it with a reason if nothing pulls it."
_LIST = "Name the images it can become in the component's images, or silence it with a reason."
_PIN = "Pin a version in the chart's values."


def judge(uses: Iterable[Use], carried: Iterable[Carried], *, silences: Iterable[Silence] = ()) -> tuple[Finding, ...]:
    """Findings, errors first, by image; one for each kind and image. A silence that covers no use is one too."""
    silences = tuple(silences)
    unused = set(silences)
    spoken: list[Use] = []
    for use in uses:
        covering = [silence for silence in silences if covers(silence, use)]
        unused.difference_update(covering)
        if not covering:
            spoken.append(use)
    bench = _Bench(carried, spoken)
    found: defaultdict[tuple[Severity, Kind, str, str, str], list[Place]] = defaultdict(list)
    for use in spoken:
        for kind, severity, why, advice in bench.of(use):
            found[severity, kind, use.image, why, advice].append(use.place)
    findings = [
        Finding(
            kind=kind, severity=severity, image=image, where=tuple(sorted(map(str, places))), why=why, advice=advice
        )
        for (severity, kind, image, why, advice), places in found.items()
    ]
    findings += [_unused(silence) for silence in unused]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda each: (order.index(each.severity), each.image, each.kind, each.where)))


def covers(silence: Silence, use: Use) -> bool:
    """Whether a silence is about this use: by the text as it was found, or by the name that it stands for."""
    named = name_of(silence.image)
    return silence.image in (use.text, use.image) or bool(
        named and named.reference and named.reference == use.reference
    )


def _unused(silence: Silence) -> Finding:
    return Finding(
        kind=Kind.UNUSED_SILENCE,
        severity=Severity.WARNING,
        image=silence.image,
        where=(),
        why=f"silenced ({silence.reason}), and nothing names it",
        advice="Remove the silence.",
    )


_Verdict = tuple[Kind, Severity, str, str]


class _Bench:
    """What is carried, and which repositories are surely images."""

    def __init__(self, carried: Iterable[Carried], uses: Iterable[Use]) -> None:
        self.images = tuple(carried)
        self.by_name: defaultdict[str, list[Carried]] = defaultdict(list)
        for image in self.images:
            self.by_name[image.reference.name].append(image)
        self.known = set(self.by_name) | {
            use.reference.name for use in uses if use.reference and use.certainty > Certainty.GUESS
        }

    def of(self, use: Use) -> Iterator[_Verdict]:
        if use.reference is None:
            yield from self._unnamed(use)
            return
        problem = self._absent(use.reference)
        if use.found is Found.VALUES:
            if problem:
                yield (
                    Kind.NOT_RENDERED,
                    Severity.HINT,
                    "in values.yaml, used by no render",
                    "Declare a variant that turns it on.",
                )
            return
        if problem:
            kind, why = problem
            sure = use.certainty > Certainty.GUESS or use.reference.name in self.known
            yield kind, Severity.ERROR if sure else Severity.WARNING, why, _ADD
            return
        if use.pull_policy == "Always":
            yield (
                Kind.ALWAYS_PULL,
                Severity.WARNING,
                "the registry is asked at each start, and must answer",
                ("Set the pull policy to IfNotPresent in the chart's values."),
            )
        if use.reference.digest is None and use.reference.tag == "latest":
            why = "no version: what was latest when it was locked; the kubelet asks for it at each start"
            yield Kind.LATEST, Severity.WARNING, why, _PIN

    def _unnamed(self, use: Use) -> Iterator[_Verdict]:
        """A text that is no image name: computed at run time, or broken."""
        if not use.computed:
            yield Kind.UNREADABLE, Severity.ERROR, "the kubelet refuses it: it is no image name", "Correct the values."
            return
        pattern = pattern_of(use.text)
        fitting = sorted(
            str(image.reference) for image in self.images if pattern and pattern.fullmatch(str(image.reference))
        )
        if fitting:
            why = f"computed at run time; carried of what it may become: {', '.join(fitting[:8])}"
            yield Kind.COMPUTED, Severity.WARNING, why, _LIST
        else:
            severity = Severity.WARNING if use.certainty is Certainty.GUESS else Severity.ERROR
            yield Kind.COMPUTED, severity, "computed at run time, and nothing that it may become is carried", _LIST

    def _absent(self, wanted: Reference) -> tuple[Kind, str] | None:
        """Why a pull of this name fails on the site, or None. Beside a digest a tag does not count (kubelet)."""
        same = self.by_name.get(wanted.name, [])
        if wanted.digest is None:
            if any(image.reference.tag == wanted.tag for image in same):
                return None
            have = ", ".join(sorted(str(image.reference) for image in same)[:8])
            return Kind.MISSING, f"carried of it: {have}" if have else "not in the lock"
        if any(wanted.digest in image.digests for image in same):
            return None
        for image in same:
            if not wanted.tag or image.reference.tag == wanted.tag:
                held = ", ".join(sorted(map(str, image.digests))[:4])
                return Kind.OTHER_DIGEST, f"the lock has {image.reference} as {held}"
        return Kind.MISSING, "not in the lock"
