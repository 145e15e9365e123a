"""Images in names with values: fields of a mapping, environment variables, flags, lines of a file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bundler.closure.shape import Named, by_key, name_of
from bundler.closure.use import Certainty
from bundler.closure.words import is_part, joined, mentions_image, says_image, says_images, words_of

_SPLIT = re.compile(r"[\s,;=\"'\[\]]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An image and the keys of the pairs that name it."""

    keys: tuple[str, ...]
    named: Named
    certainty: Certainty


def in_pairs(pairs: Mapping[str, str], *, under_image: bool = False) -> Iterator[Hit]:
    """The images that keys and values name together. `under_image`: the mapping itself is the value of such a key."""
    used: set[str] = set()
    for each in joined(pairs, under_image=under_image):
        named = name_of(each.text)
        if named and name_of(each.base):
            used.update(each.keys)
            sure = each.says and not each.partial
            yield Hit(keys=each.keys, named=named, certainty=Certainty.LIKELY if sure else Certainty.GUESS)
    whole = not any(is_part(words_of(key)) for key in pairs)
    for key, text in pairs.items():
        if key not in used:
            for named, certainty in _by_key(words_of(key), text, under_image=under_image, whole=whole):
                yield Hit(keys=(key,), named=named, certainty=certainty)


def _by_key(words: tuple[str, ...], text: str, *, under_image: bool, whole: bool) -> Iterator[tuple[Named, Certainty]]:
    """`whole`: no key beside this one holds a registry, repository or tag, be it empty, that a bare name would need."""
    if says_image(words):
        one = by_key(text, exact=whole and words == ("image",))
        several = _SPLIT.split(text) if one is None or says_images(words) else ()
        found = [one] if one else [by_key(part, exact=False) for part in several]
        yield from (each for each in found if each and (each is one or each[0].tagged or each[0].hosted))
    elif mentions_image(words) or under_image:
        one = by_key(text, exact=False)
        if one and not one[0].port and (one[0].tagged or one[0].hosted):
            yield one
