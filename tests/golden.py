"""Texts that steps write, in a folder, for a reader to judge: BUNDLE_GOLDEN=write writes them anew."""

import os
from collections.abc import Iterable
from pathlib import Path

from bundler.steps.actions import Action, WriteFile


def check_texts(folder: Path, actions: Iterable[Action]) -> None:
    """Every file that is no secret and no certificate; no file of the folder may be left over."""
    texts = {
        Path(action.path).name: action.content
        for action in actions
        if isinstance(action, WriteFile) and isinstance(action.content, str) and not action.path.endswith(".crt")
    }
    if os.environ.get("BUNDLE_GOLDEN") == "write":
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text)
    assert {path.name: path.read_text() for path in folder.iterdir()} == texts
