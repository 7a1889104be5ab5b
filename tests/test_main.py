"""The commands under one name: ``rerun-zoo``, or ``python -m experiments``."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import __main__ as rerun_zoo

ROOT = Path(__file__).parents[1]
COMMANDS = [*rerun_zoo.COMMANDS]


def run(monkeypatch, *argv: str) -> int:
    """Run ``rerun-zoo`` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["rerun-zoo", *argv])
    with pytest.raises(SystemExit) as exit_info:
        rerun_zoo.main()
    return exit_info.value.code


def test_an_unknown_command_is_reported_in_one_line_with_exit_code_2(monkeypatch, capsys):
    assert run(monkeypatch, "reproduse") == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error == f"rerun-zoo: unknown command 'reproduse'; commands: {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(argv, monkeypatch, capsys):
    assert run(monkeypatch, *argv) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert [line.split()[0] for line in out.splitlines()[1:]] == COMMANDS
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} == {
        *COMMANDS,
        "__init__",
        "__main__",
    }


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_backend(argv):
    code = f"""if True:
        import sys
        from experiments import __main__
        sys.argv[1:] = {argv}
        try:
            __main__.main()
        finally:
            assert not set(sys.modules) & {{"keras", "tensorflow", "jax", "torch"}}
    """
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith("usage: ")


def test_a_command_gets_the_arguments_and_its_exit_code_is_returned():
    argv = [sys.executable, "-m", "experiments", "reproduce"]
    completed = subprocess.run([*argv, "--list"], cwd=ROOT, capture_output=True, text=True)
    assert completed.returncode == 0
    assert "alexnet_lr_decay" in completed.stdout
    completed = subprocess.run([*argv, "no_such"], cwd=ROOT, capture_output=True, text=True)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr.startswith("reproduce: ")
    assert completed.stderr.count("\n") == 1
