"""A host that is a folder: scripts are really run by sh(1), below a root of their own, without being root.

Paths that match `_MAPPED` lie below the root. systemctl and journalctl are small ones of our own: units are files,
`log` has what systemctl was asked, and the root's file `journal` is the journal of every unit.
"""

import grp
import os
import pwd
import re
import subprocess
import threading
from pathlib import Path

from bundler.hosts.base import OVERTAKEN, TIMED_OUT, Answer, Script

ME, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
RELEASE = "bookworm"
_MAPPED = re.compile(r"(?<![\w/])(/etc/|/var/lib/|/var/log/|/run/bundle|/srv|/opt/)")
_FOLDERS = ("etc/systemd/system", "opt", "run", "srv", "units", "var/lib/bundle", "var/log")
_PROGRAMS = {
    "systemctl": r"""
cd "$ROOT/units" || exit 1
echo "$*" >> log
verb=$1; shift
now= runtime= between=
while [ "$1" != -- ] && [ $# -gt 0 ]; do
  case $1 in --runtime) runtime=.runtime ;; --now) now=1 ;; esac
  shift
done
[ $# = 0 ] || shift
is() { [ -e "$u.$1" ]; }
known() { is unit || [ -e "$ROOT/etc/systemd/system/$u" ]; }
masked() { is masked || is masked.runtime; }
for u; do
  case $verb in
  show)
    [ -z "$between" ] || echo
    between=1
    if masked; then load=masked; elif known; then load=loaded; else load=not-found; fi
    active=inactive sub=dead file=
    if known; then file=disabled; fi
    if is active; then active=active sub=running; fi
    if is failed; then active=failed sub=failed; fi
    if is enabled; then file=enabled; fi
    printf '%s\n' "LoadState=$load" "ActiveState=$active" "SubState=$sub" "UnitFileState=$file" NeedDaemonReload=no ;;
  mask) : > "$u.masked$runtime" ;;
  unmask) rm -f "$u.masked$runtime" ;;
  is-enabled) is enabled || exit 1 ;;
  enable)
    if masked; then echo "$u is masked" >&2; exit 1; fi
    known || exit 1
    : > "$u.enabled" ;;
  disable) rm -f "$u.enabled"; [ -z "$now" ] || rm -f "$u.active" ;;
  reset-failed) rm -f "$u.failed" ;;
  restart | reload-or-restart)
    if masked || ! known || is broken; then rm -f "$u.active"; : > "$u.failed"; exit 1; fi
    if is short; then rm -f "$u.active"; else : > "$u.active"; fi ;;
  is-active) is active || exit 3 ;;
  *) exit 1 ;;
  esac
done""",
    "journalctl": r"""
for word; do case $word in --since=never) echo "Failed to parse timestamp: never" >&2; exit 1 ;; esac; done
case " $* " in *" -u "*) [ ! -e "$ROOT/journal" ] || cat "$ROOT/journal" ;; esac""",
}


class FolderHost:
    """Runs scripts as bundler.hosts.Host does, but for the guard around them, of which it has the epoch."""

    def __init__(self, root: Path, name: str = "n1") -> None:
        self.name, self.root = name, root
        self.units, self.tool = root / "units", root / "tool"
        for folder in (*_FOLDERS, "tool/bin"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for program, text in _PROGRAMS.items():
            self.program(program, text)
        self.path("/etc/os-release").write_text(f"VERSION_CODENAME={RELEASE}\n")

    def program(self, name: str, text: str) -> None:
        """Put a program, by its sh text, in place of the machine's."""
        path = self.tool / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def path(self, path: str) -> Path:
        """Where a host's path lies."""
        return Path(self._mapped(path))

    def has_unit(self, unit: str, *words: str) -> None:
        for word in ("unit", *words):
            self.unit(unit, word).touch()

    def unit(self, unit: str, word: str = "active") -> Path:
        """The file that says that a unit is so."""
        return self.units / f"{unit}.{word}"

    @property
    def log(self) -> list[str]:
        log = self.units / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def epoch(self) -> int:
        file = self.path("/var/lib/bundle/epoch")
        return int(file.read_text() or 0) if file.exists() else 0

    def know(self, epoch: int) -> None:
        self.path("/var/lib/bundle/epoch").write_text(f"{epoch}\n")

    def run(self, script: Script) -> Answer:
        if script.epoch is not None:
            if script.epoch < self.epoch:
                return Answer(code=OVERTAKEN, stdout=b"", stderr=b"a newer one is known")
            self.know(script.epoch)
        text = self.tool / f"script-{threading.get_ident()}"
        text.write_text(self._mapped(script.text))
        try:
            done = subprocess.run(
                ["sh", text],
                input=script.stdin if isinstance(script.stdin, bytes) else b"".join(script.stdin.chunks()),
                capture_output=True,
                timeout=script.timeout,
                env=self.environment(),
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(code=TIMED_OUT, stdout=b"", stderr=b"")
        return Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def run_text(self, text: str) -> bytes:
        return self.run(Script(text=text)).stdout

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.tool}/bin:{os.environ['PATH']}", "ROOT": str(self.root)}

    def tree(self) -> dict[str, object]:
        """Everything on it, but for the log: what two hosts are compared by."""
        found: dict[str, object] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.startswith("tool") or name == "units/log":
                continue
            mode = oct(path.lstat().st_mode)
            if path.is_symlink():
                found[name] = str(path.readlink())
            else:
                found[name] = (mode, path.read_bytes()) if path.is_file() else mode
        return found

    def _mapped(self, text: str) -> str:
        return _MAPPED.sub(lambda match: f"{self.root}{match[0]}", text)
