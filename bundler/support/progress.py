"""What long work says while it runs. The command line draws it; silence is the default."""

from typing import Protocol


class Progress(Protocol):
    def expect(self, total: int) -> None:
        """The work is `total` bytes."""

    def advance(self, count: int) -> None:
        """`count` more bytes are done; negative when they have to be done again."""

    def begin(self, name: str) -> None:
        """Work on the artifact `name` starts."""

    def end(self, name: str) -> None:
        """Work on the artifact `name` is over, well or not."""

    def note(self, text: str) -> None:
        """A line for the reader."""


class Silent:
    def expect(self, total: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def begin(self, name: str) -> None: ...
    def end(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...


def counted(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
