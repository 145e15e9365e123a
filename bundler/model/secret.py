"""Text that must not be seen: it renders masked everywhere, and only `reveal` gives it."""

import hmac
from typing import Any, NoReturn, final

MASK = "(secret)"


@final
class Secret:
    """A frozen secret text. It is no dataclass: `dataclasses.asdict` would take it apart.

    Neither json nor pickle nor yaml take it, and it joins with other text only by `Secret.of`.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    @classmethod
    def of(cls, *parts: "str | Secret") -> "Secret":
        """The parts, joined."""
        return cls("".join(part.reveal() if isinstance(part, Secret) else part for part in parts))

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (each.encode("utf-8", "surrogatepass") for each in (self._text, other._text))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret is frozen")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled")
