"""Hosts for tests that are folders: scripts are really run by sh(1), below a root of their own, without being root.

Paths that begin with one of `MAPPED` lie below the root. systemctl and journalctl are small ones of our own, whose
units are files; `log` has what systemctl was asked. With `kill_at` everything dies before the script's Nth program.
"""

import getpass
import grp
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

from bundler.hosts.base import OVERTAKEN, TIMED_OUT, Answer, Script

ME, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
MAPPED = ("/var/lib/bundle", "/run/bundle", "/srv", "/etc/scratch")
_KILLABLE = ("cat", "chmod", "chown", "cp", "mkdir", "mv", "rm", "sha256sum", "sync", "systemctl")
_SYSTEMCTL = """#!/bin/sh
cd {units} || exit 1
echo "$*" >> log
verb=$1; shift
now= runtime= between=
while [ "$1" != -- ] && [ $# -gt 0 ]; do
  case $1 in --runtime) runtime=.runtime ;; --now) now=1 ;; esac
  shift
done
[ $# = 0 ] || shift
is() {{ [ -e "$u.$1" ]; }}
masked() {{ is masked || is masked.runtime; }}
for u; do
  case $verb in
  show)
    [ -z "$between" ] || echo
    between=1
    if masked; then load=masked; elif is unit; then load=loaded; else load=not-found; fi
    active=inactive sub=dead file=
    if is unit; then file=disabled; fi
    if is active; then active=active sub=running; fi
    if is failed; then active=failed sub=failed; fi
    if is enabled; then file=enabled; fi
    printf '%s\\n' "LoadState=$load" "ActiveState=$active" "SubState=$sub" "UnitFileState=$file" NeedDaemonReload=no ;;
  mask) : > "$u.masked$runtime" ;;
  unmask) rm -f "$u.masked$runtime" ;;
  is-enabled) is enabled || exit 1 ;;
  enable)
    if masked; then echo "$u is masked" >&2; exit 1; fi
    is unit || exit 1
    : > "$u.enabled" ;;
  disable) rm -f "$u.enabled"; [ -z "$now" ] || rm -f "$u.active" ;;
  reset-failed) rm -f "$u.failed" ;;
  restart | reload-or-restart)
    if masked || ! is unit || is broken; then rm -f "$u.active"; : > "$u.failed"; exit 1; fi
    if is short; then rm -f "$u.active"; else : > "$u.active"; fi ;;
  is-active) is active || exit 3 ;;
  *) exit 1 ;;
  esac
done
"""
_SHIM = """#!/bin/sh
read -r n < {count}
n=$((n + 1))
echo $n > {count}
[ $n != "${{KILL_AT:-0}}" ] || kill -9 0
exec {program} "$@"
"""


class ScratchHost:
    """Runs scripts as bundler.hosts.Host does, but for the guard around them."""

    def __init__(self, root: Path, name: str = "n1") -> None:
        self.name, self.root = name, root
        self.epoch = 0
        self.kill_at = 0
        self.units = root / "units"
        for folder in (self.units, root / "bin", root / "etc/scratch", root / "var/lib/bundle"):
            folder.mkdir(parents=True, exist_ok=True)
        self._count = root / "count"
        self._program("systemctl", _SYSTEMCTL.format(units=self.units))
        self._program("journalctl", "#!/bin/sh\necho the journal\n")
        self._shimmed = False

    def path(self, path: str) -> Path:
        """Where a host's path lies."""
        return Path(self._mapped(path))

    def has_unit(self, unit: str, *words: str) -> None:
        for word in ("unit", *words):
            (self.units / f"{unit}.{word}").touch()

    @property
    def log(self) -> list[str]:
        log = self.units / "log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, script: Script) -> Answer:
        if script.epoch is not None:
            if script.epoch < self.epoch:
                return Answer(code=OVERTAKEN, stdout=b"", stderr=b"")
            self.epoch = script.epoch
        text = self.root / f"script-{threading.get_ident()}"
        text.write_text(self._mapped(script.text))
        assert isinstance(script.stdin, bytes)
        if self.kill_at:
            self._shim()
        try:
            done = subprocess.run(
                ["sh", text],
                input=script.stdin,
                capture_output=True,
                timeout=script.timeout,
                env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "KILL_AT": str(self.kill_at)},
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(code=TIMED_OUT, stdout=b"", stderr=b"")
        return Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def run_text(self, text: str) -> bytes:
        return self.run(Script(text=text)).stdout

    def tree(self) -> dict[str, object]:
        """All files below the root that scripts can have made: what two hosts are compared by."""
        found: dict[str, object] = {}
        for top in ("etc", "var", "srv", "units"):
            for path in sorted((self.root / top).rglob("*")):
                if path.name == "log":
                    continue
                name, mode = str(path.relative_to(self.root)), oct(path.lstat().st_mode)
                if path.is_symlink():
                    found[name] = str(path.readlink())
                else:
                    found[name] = (mode, path.read_bytes()) if path.is_file() else mode
        return found

    def _mapped(self, text: str) -> str:
        return re.sub(rf"(?<![\w/])({'|'.join(MAPPED)})", lambda match: f"{self.root}{match[0]}", text)

    def _program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def _shim(self) -> None:
        self._count.write_text("0\n")
        if self._shimmed:
            return
        self._shimmed = True
        (self.root / "real").mkdir()
        shutil.move(self.root / "bin/systemctl", self.root / "real/systemctl")
        for name in _KILLABLE:
            program = self.root / "real/systemctl" if name == "systemctl" else shutil.which(name)
            self._program(name, _SHIM.format(count=self._count, program=program))
