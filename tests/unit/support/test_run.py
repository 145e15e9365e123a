import sys
import time
from pathlib import Path

import pytest

from bundler.errors import ToolMissing
from bundler.support.run import Outcome, run


def python(script: str, **options: object) -> Outcome:
    return run([sys.executable, "-c", script], **{"needed_for": "tests", "timeout": 20, **options})  # type: ignore[arg-type]


def test_what_it_says(tmp_path: Path) -> None:
    done = python("import sys; print(sys.stdin.read()); print('e', file=sys.stderr); sys.exit(3)", stdin="é ü")
    assert done == Outcome(code=3, stdout="é ü\n", stderr="e\n")
    assert python("import os; print(os.getcwd())", directory=tmp_path).stdout == f"{tmp_path}\n"
    assert python(r"import os; os.write(1, b'\xff\n')").stdout == "\ufffd\n"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("TAKEN", "taken")
    monkeypatch.setenv("LC_ALL", "POSIX")
    script = "import os; print(*(os.environ.get(name) for name in ('KEPT', 'TAKEN', 'ADDED', 'LC_ALL')))"
    assert python(script, environment={"ADDED": "added", "TAKEN": None}).stdout == "kept None added C.UTF-8\n"


def test_the_encoding_is_not_the_locales() -> None:
    command = r"run(['cat'], needed_for='x', timeout=9, stdin='\xe9')"
    script = f"from bundler.support.run import run; print(ascii({command}.stdout))"
    done = python(script, environment={"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.stdout == "'\\xe9'\n", done.stderr


def test_timeout() -> None:
    start = time.monotonic()
    done = python("import time; print('begun', flush=True); time.sleep(60)", timeout=0.3)
    assert done.code == 124
    assert done.tail() == f"{sys.executable} did not end within 0.3 s"
    assert time.monotonic() - start < 10


def test_no_such_program(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("not executable")
    for tool in ("no-such-program", str(tmp_path / "script"), str(tmp_path)):
        with pytest.raises(ToolMissing) as caught:
            run([tool], needed_for="tests", timeout=1)
        assert (caught.value.tool, caught.value.needed_for) == (tool, "tests")


def test_a_death_by_signal_is_a_failure() -> None:
    assert python("import os; os.kill(os.getpid(), 9)").code == -9


@pytest.mark.parametrize(
    ("stdout", "stderr", "tail"),
    [("", "", ""), ("out\n", "", "out"), ("out", "err\n", "err"), ("out", " \n", "out"), ("", "1\n2\n3", "2\n3")],
)
def test_tail(stdout: str, stderr: str, tail: str) -> None:
    assert Outcome(code=1, stdout=stdout, stderr=stderr).tail(2) == tail


def test_nothing_is_read_from_our_own_input() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    program.chmod(0o700)
    outcome = run([str(program)], needed_for="a test", timeout=5)
    assert outcome.code == 126
    assert "cannot be run here" in outcome.stderr
