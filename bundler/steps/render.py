"""Configuration files from the templates (Jinja) that lie in a component's folder."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template


def render(package: str, name: str, **values: object) -> str:
    """The text of `name` in `package`'s folder with these values; one that the template wants and does not get is a
    mistake in the component (jinja2.UndefinedError)."""
    return _template(package, name).render(**values)


@cache
def _template(package: str, name: str) -> Template:
    # What is made here is no HTML: nothing is escaped, and every value has passed its parser.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(files(package).joinpath(name).read_text(encoding="utf-8"))
