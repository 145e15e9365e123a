"""The tool's own files, as a bundle's bootstrap carries them."""

from pathlib import Path

import bundler

_SUFFIXES = (".py", ".typed", ".html", ".j2", ".json", ".sh", ".txt", ".yaml", ".zst")
# Compiled files, and the catalog of an installed wheel: a site needs neither.
_LEFT_OUT = {"__pycache__", "manifests"}


def tool_sources() -> dict[str, bytes]:
    """Every file of the package by its path, and the launcher as `__main__.py`; caches and stray files left out."""
    package = Path(bundler.__file__).parent
    found = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.suffix in _SUFFIXES and _LEFT_OUT.isdisjoint(path.relative_to(package).parts)
    }
    found["__main__.py"] = found[f"{package.name}/launcher.py"]
    return found
