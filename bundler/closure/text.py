"""Images in plain text: shell, ini, TOML, Dockerfiles, templates; whatever is not YAML or JSON."""

import re
from collections.abc import Iterator

from bundler.closure.pairs import in_pairs
from bundler.closure.shape import HOLE, Named, by_key, by_shape, expanded, name_of
from bundler.closure.tree import Budget
from bundler.closure.use import Certainty
from bundler.closure.words import says_images, words_of

_TOKEN = re.compile(rf"(?:{HOLE}|[\w.:/@+-])+")
_COMMENT = re.compile(r"^\s*(?:#|//|;).*|\s#.*")
_SECTION = re.compile(r"\s*\[[^\]]*\]\s*$|---")
_PAIR = re.compile(
    r"(?<![\w./:@-])(?:(?P<flag>--?)(?=[A-Za-z]))?(?P<key>[A-Za-z_][\w.-]*)"
    r"(?:\\?[\"']\s*[:=]\s*|\s*[:?+]?=\s*|:\s+|(?<=\w)(?(flag)\s+|(?!)))"
)
_REST = re.compile(r"[^\]}]*")
_QUOTED = re.compile(r"\\?([\"'])(?P<text>[^\"'\\]*)\\?\1")
_NODE = 16  # characters of text that cost as much as a node of YAML
_FROM = re.compile(r"\s*FROM\s+(?:--platform=\S+\s+)?(?P<image>\S+)")
_ENGINE = re.compile(r"\b(?:docker|podman|nerdctl|crictl|ctr|skopeo|crane|buildah|regctl|oras)\s(?P<rest>.*)")
_VERBS = frozenset(("run", "pull", "create", "copy", "cp", "inspect", "import"))
_WITH_VALUE = re.compile(r"-[ehmnpuvw]|--(?:entrypoint|env|name|network|publish|user|volume|workdir)")


def in_text(text: str, budget: Budget) -> list[tuple[int, Named, Certainty]]:
    """Each image with its line, counted from 1; the same one may come more than once.

    What is read counts on the budget. A guess without a tag is left out where the name has one elsewhere: it is a part.
    """
    found = list(_in_lines(text, budget))
    tagged = {named.reference.name for _, named, _ in found if named.tagged and named.reference}
    return [
        (number, named, certainty)
        for number, named, certainty in found
        if certainty > Certainty.GUESS or named.tagged or not named.reference or named.reference.name not in tagged
    ]


def _in_lines(text: str, budget: Budget) -> Iterator[tuple[int, Named, Certainty]]:
    variables: dict[str, str] = {}
    pairs: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in _lines(text):
        if _SECTION.match(line):
            yield from _close(pairs, lines)
        for key, value in _pairs(line):
            if key in pairs:  # the next item of a list
                yield from _close(pairs, lines)
            value = expanded(value, variables)
            pairs[key], lines[key], variables[key] = value, number, value
        line = expanded(line, variables)
        budget.spend(1 + len(line) // _NODE)
        yield from ((number, *found) for found in _in_line(line))
    yield from _close(pairs, lines)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, those that a backslash continues as one, with the number of the first."""
    held, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        held += _COMMENT.sub("", line)
        if held.endswith("\\"):
            held = held[:-1] + " "
            continue
        yield first, held
        held, first = "", 0
    if held:
        yield first, held


def _close(pairs: dict[str, str], lines: dict[str, int]) -> Iterator[tuple[int, Named, Certainty]]:
    """The images of the pairs so far, which are then forgotten."""
    for hit in in_pairs(pairs):
        yield lines[hit.keys[0]], hit.named, hit.certainty
    pairs.clear()
    lines.clear()


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """`key=value`, `key: value`, `"key": "value"`, `--key value` of one line."""
    done = 0
    for match in _PAIR.finditer(line):
        if match.start() < done:
            continue
        quoted = _QUOTED.match(line, match.end())
        token = _TOKEN.match(line, match.end())
        if says_images(words_of(match["key"])):
            rest = _REST.match(line, match.end())
            done = rest.end() if rest else 0
            yield match["key"], rest[0] if rest else ""
        elif quoted:
            yield match["key"], quoted["text"]
        elif token:
            yield match["key"], token[0]


def _in_line(line: str) -> Iterator[tuple[Named, Certainty]]:
    built = _FROM.match(line)
    named = name_of(built["image"]) if built else None
    if named and (named.tagged or named.pathed):
        yield named, Certainty.LIKELY
    engine = _ENGINE.search(line)
    if engine:
        yield from _pulled(engine["rest"].split())
    for token in _TOKEN.finditer(line):
        found = by_shape(token[0].rstrip(".:-"))
        if found:
            yield found


def _pulled(words: list[str]) -> Iterator[tuple[Named, Certainty]]:
    """What `docker run …` and its like would pull: the first name after the verb that is no flag's value."""
    verb = next((at for at, word in enumerate(words) if word in _VERBS), None)
    if verb is None:
        return
    skip = False
    for word in words[verb + 1 :]:
        if skip or word.startswith("-"):
            skip = not skip and _WITH_VALUE.fullmatch(word) is not None
            continue
        found = by_key(word.strip("\"'`();"), exact=True)
        if found and not found[0].text[0].isdigit():
            yield found
            if words[verb] not in ("copy", "cp"):
                return
