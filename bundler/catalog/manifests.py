"""Where manifests are looked for: several folders, the first that has a name wins."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bundler
from bundler.errors import Malformed, NotReadable

# In a checkout beside the package; inside it where the package was installed from a wheel.
_PACKAGE = Path(bundler.__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent / "manifests"
_BUILT_IN = (_PACKAGE / "manifests", _CHECKOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Folders with `profiles/`, `components/`, `files/` and `charts/`, in the order in which they are searched.

    Our own charts lie beside the catalog in a checkout, and inside it where the package was installed from a wheel.
    """

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, given: Sequence[Path]) -> "Manifests":
        """The folders given, else `manifests` here, and then the tool's own catalog. Raises NotReadable."""
        for folder in given:
            if not folder.is_dir():
                raise NotReadable(path=str(folder), why="it is no folder")
        here = Path("manifests")
        first = tuple(given) or ((here,) if here.is_dir() else ())
        return cls(folders=(*first, *(folder for folder in _BUILT_IN if folder.is_dir())))

    def before(self, folder: Path) -> "Manifests":
        """The same, with another folder searched first."""
        return Manifests(folders=(folder, *self.folders))

    def find(self, kind: str, name: str) -> Path:
        """The manifest of a component or profile (`kind` is its folder). Raises NotReadable."""
        for folder in self.folders:
            path = folder / kind / f"{name}.yaml"
            if path.exists():
                return path
        places = ", ".join(str(folder / kind) for folder in self.folders) or "no folder at all"
        close = difflib.get_close_matches(name, self.names(kind), n=3, cutoff=0.5)
        advice = f"Close to it: {', '.join(close)}." if close else "`bundle catalog` lists the names."
        raise NotReadable(path=f"{name}.yaml", why=f"it is not in {places}", advice=advice)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of all manifests of a kind, sorted."""
        paths = (path for folder in self.folders for path in (folder / kind).glob("*.yaml"))
        return tuple(sorted({path.stem for path in paths}))

    def file(self, url: str) -> Path:
        """What `file:PATH` means below some `files/`. Raises Malformed for a path that leads out, NotReadable."""
        return _below([folder / "files" for folder in self.folders], url)

    def chart(self, url: str) -> Path:
        """What `file:PATH` means below some `charts/`: a chart's folder. Raises Malformed, NotReadable."""
        return _below(self.charts, url)

    @property
    def charts(self) -> tuple[Path, ...]:
        """Each folder's `charts/`; it need not be there."""
        return tuple((folder.parent if folder.resolve() == _CHECKOUT else folder) / "charts" for folder in self.folders)


def _below(bases: Sequence[Path], url: str) -> Path:
    for given in bases:
        base = given.resolve()
        path = (base / url.removeprefix("file:")).resolve()
        if base not in path.parents:
            raise Malformed(found=repr(url[:160]), expected=f"file:PATH of something below {given}")
        if path.exists():
            return path
    places = ", ".join(map(str, bases)) or "no folder at all"
    raise NotReadable(path=url, why=f"it is not in {places}", advice="Name the folder that has it with --manifests.")
