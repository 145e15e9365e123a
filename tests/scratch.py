"""Hosts for tests of scripts, that can be killed: with `kill_at` everything dies before the script's Nth program."""

import shutil
from pathlib import Path

from bundler.hosts.base import Answer, Script
from tests.folder_host import FolderHost

_KILLABLE = ("cat", "chmod", "chown", "cp", "mkdir", "mv", "rm", "sha256sum", "sync", "systemctl")
_SHIM = """read -r n < {count}
n=$((n + 1))
echo $n > {count}
[ $n != "${{KILL_AT:-0}}" ] || kill -9 0
exec {program} "$@\""""


class ScratchHost(FolderHost):
    """It has a folder for what tests write: /etc/scratch."""

    def __init__(self, root: Path, name: str = "n1") -> None:
        super().__init__(root, name)
        self.kill_at = 0
        self._count, self._real = self.tool / "count", self.tool / "systemctl"
        (root / "etc/scratch").mkdir(exist_ok=True)

    def run(self, script: Script) -> Answer:
        if self.kill_at:
            self._shim()
        return super().run(script)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "KILL_AT": str(self.kill_at)}

    def _shim(self) -> None:
        self._count.write_text("0\n")
        if self._real.exists():
            return
        shutil.move(self.tool / "bin/systemctl", self._real)
        for name in _KILLABLE:
            program = self._real if name == "systemctl" else shutil.which(name)
            self.program(name, _SHIM.format(count=self._count, program=program))
