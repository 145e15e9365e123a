"""What `python3 -I bootstrap` runs: standard library only, before anything else of the tool can be imported.

It unpacks the wheels that are meant for the running interpreter beside itself and starts the command line. A bundle
carries this file as `bootstrap/__main__.py`; its signature was checked by openssl before it runs.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def unpack(version: str) -> Path:
    """The folder with all wheels for this version, made once: a half one never has the final name."""
    target = FOLDER / f"python-{version}"
    if target.is_dir():
        return target
    beside = FOLDER / f".python-{version}.{os.getpid()}"
    for name in json.loads((FOLDER / "pythons.json").read_text())[version]:
        with zipfile.ZipFile(FOLDER / "wheels" / name) as wheel:
            wheel.extractall(beside)
    try:
        beside.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    return target


def main() -> int:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    carried = sorted(json.loads((FOLDER / "pythons.json").read_text()))
    if carried:
        if version not in carried:
            sys.stderr.write(
                f"error: this bundle carries the tool for Python {', '.join(carried)}, and this is {version}\n"
                "  what to do: run one of those, or declare this version in the profile's bootstrap\n"
            )
            return 17
        try:
            sys.path.insert(0, str(unpack(version)))
        except OSError as error:
            sys.stderr.write(f"error: cannot unpack the tool into {FOLDER}: {error.strerror}\n")
            return 52
    from bundler.cli.main import main as run

    return int(run())


if __name__ == "__main__":
    sys.exit(main())
