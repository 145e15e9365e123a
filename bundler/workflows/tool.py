"""The tool's own files, as a bundle's bootstrap carries them."""

from pathlib import Path

import bundler

_SUFFIXES = (".py", ".typed", ".html", ".j2", ".json", ".yaml", ".txt")


def tool_sources() -> dict[str, bytes]:
    """Every file of the package by its path, and the launcher as `__main__.py`; caches and stray files left out."""
    package = Path(bundler.__file__).parent
    found = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    }
    found["__main__.py"] = found[f"{package.name}/launcher.py"]
    return found
