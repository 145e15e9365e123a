"""What `create --explain` shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.progress import human

if TYPE_CHECKING:
    from bundler.workflows.patching import Choice


def explained(choices: "Sequence[Choice]") -> list[dict[str, Any]]:
    """For scripts."""
    return [
        {
            "digest": str(each.digest),
            "names": list(each.names),
            "how": each.how,
            "size": each.size,
            "travels": each.travels,
            "why": each.why,
        }
        for each in choices
    ]


def show_choices(choices: "Sequence[Choice]") -> None:
    """For people: a line for each large blob, then what it comes to."""
    for each in choices:
        name = each.names[0] if each.names else each.digest.hex[:12]
        more = f" and {len(each.names) - 1} more" if len(each.names) > 1 else ""
        amount = f"{human(each.travels)} of {human(each.size)}"
        click.echo(f"  {each.how:5}  {amount:>22}  {name}{more} {each.digest.hex[:12]}: {each.why}")
    for how in ("held", "patch", "whole"):
        some = [each for each in choices if each.how == how]
        if some:
            travels, size = sum(each.travels for each in some), sum(each.size for each in some)
            click.echo(f"  {how:5}  {len(some):>5} blobs: {human(travels)} of {human(size)} travel")
