"""The words that JSON schemas (draft 2020-12) of our YAML files are made of, each with its description."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
LABEL = "[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"


def word(description: str, pattern: str, *, longest: int = 255, **more: Any) -> Schema:
    """Text that matches as a whole."""
    return {"description": description, "type": "string", "pattern": f"^(?:{pattern})$", "maxLength": longest, **more}


def text(description: str, pattern: str, *, longest: int = 255, **more: Any) -> Schema:
    """The same for what may look like a number: a bare 12 is one to an editor, and text to the parser."""
    return {**word(description, pattern, longest=longest, **more), "type": ["string", "number"]}


def label(description: str) -> Schema:
    return text(description, LABEL, longest=63)


def number(description: str, least: int, most: int, **more: Any) -> Schema:
    return {"description": description, "type": "integer", "minimum": least, "maximum": most, **more}


def flag(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def listing(description: str, items: Schema, **more: Any) -> Schema:
    return {"description": description, "type": "array", "items": items, **more}


def named(description: str, values: Schema, **more: Any) -> Schema:
    """A mapping from labels."""
    names = {"pattern": f"^(?:{LABEL})$", "maxLength": 63}
    return {
        "description": description,
        "type": "object",
        "propertyNames": names,
        "additionalProperties": values,
        **more,
    }


def record(description: str, properties: Mapping[str, Mapping[str, Any]], required: tuple[str, ...] = ()) -> Schema:
    """A mapping of known keys."""
    return {
        "description": description,
        "type": "object",
        "required": list(required),
        "properties": dict(properties),
        "additionalProperties": False,
    }
