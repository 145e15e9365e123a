"""Put together what the lab's upstream serves: in STATE/storage for the registry, in STATE/files for the web server.

What is missing is made first, and what this machine cannot make is left out and named. Prints the hosts served, a line
each: `images HOST` or `files HOST`.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from scripts.lab.build import buildable, built
from scripts.lab.common import ARCHITECTURE, CannotBuild, Recipe, recipes, say
from scripts.lab.files import big_files, published
from scripts.lab.key import public_key
from scripts.lab.packing import indexes, packed
from scripts.lab.wrap import rootfs, roots, wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--with", dest="sets", action="append", default=[], metavar="SET")
    options = parser.parse_args()
    chosen = {name: recipe for name, recipe in recipes().items() if recipe.get("set") in (None, *options.sets)}
    images, files, charts = made(chosen)
    for recipe in chosen.values() if options.big else ():
        files += big_files(recipe.get("big", {}))
    for folder in [*images, *(chart / "storage" for chart in charts)]:
        merge(folder, options.state / "storage", blob)
    for folder in [*files, *(chart / "files" for chart in charts)]:
        merge(folder, options.state / "files", link)
    for path, text in indexes(charts).items():
        place = options.state / "files" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    shutil.copyfile(public_key(), options.state / "lab-key.asc")
    # A host has one upstream: what is a registry serves no files.
    registries = {path.name for path in (options.state / "storage/docker/registry/v2/repositories").glob("*.*")}
    sites = {path.name for path in (options.state / "files").iterdir()}
    assert not registries & sites, registries & sites
    for kind, names in (("images", registries), ("files", sites)):
        for host in sorted(names):
            print(kind, host)


def made(chosen: Mapping[str, Recipe]) -> tuple[list[Path], list[Path], list[Path]]:
    """Folders with images, with files, with charts: all that the recipes name and this machine can make."""
    known = chosen.items()
    images = [image for recipe in chosen.values() for image in recipe.get("images", {}).values()]
    needed = {image["root"] for image in images if "root" in image}
    # First what takes minutes. By name, so that downloads (roots) and compilations (programs) come side by side.
    slow = {f"{name} root": partial(rootfs, name) for name in roots() if name in needed} | {
        f"{name} for {architecture}": partial(built, name, architecture)
        for name, recipe in known
        if buildable(recipe)
        for architecture in recipe.get("architectures", [ARCHITECTURE])
    }
    each(dict(sorted(slow.items())), quiet=True)
    folders = each(
        {
            f"image {reference}": partial(wrapped, name, recipe, reference)
            for name, recipe in known
            for reference in recipe.get("images", {})
        }
    )
    files = each({f"files of {name}": partial(published, name, recipe) for name, recipe in known if "files" in recipe})
    charts = each(
        {
            f"chart {name}": partial(packed, name, chart)
            for _, recipe in known
            for name, chart in recipe.get("charts", {}).items()
        }
    )
    return folders, files, charts


def each(jobs: Mapping[str, Callable[[], Path]], *, quiet: bool = False) -> list[Path]:
    """What the jobs make, some at a time; what this machine cannot make is left out and named."""
    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for what, future in [(what, pool.submit(job)) for what, job in jobs.items()]:
            try:
                found.append(future.result())
            except CannotBuild as why:
                if not quiet:
                    say(f"left out: {what}: {why}")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return found


def merge(source: Path, target: Path, place: Callable[[Path, Path], None]) -> None:
    """Give `target` every file of `source`; what is there already stays."""
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            place(Path(folder, name), into / name)


def link(source: Path, target: Path) -> None:
    if not target.is_symlink() or target.readlink() != source:
        target.unlink(missing_ok=True)
        target.symlink_to(source)


def blob(source: Path, target: Path) -> None:
    """Content is shared with the cache; a link is a copy, because the registry writes it anew in place."""
    if source.name != "data":
        shutil.copyfile(source, target)
    elif not target.exists():
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
