"""What every door answers."""

import importlib

import pytest

from experiments.harness.runtime import cli
from experiments.harness.spec import ProcessError, UserError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no such arm"), 2, "no such arm"),
        (OSError(28, "No space left"), 2, "[Errno 28] No space left"),
        (MemoryError("Unable to allocate 7.28 TiB"), 2, "Unable to allocate 7.28 TiB"),
        (MemoryError(), 2, "out of memory"),
        (ProcessError("a process died"), 1, "a process died"),
        (KeyboardInterrupt(), 130, "interrupted; run again"),
    ],
)
def test_what_the_user_should_know_is_a_line_and_an_exit_code(capsys, error, code, line):
    def fails() -> int:
        raise error

    assert cli.run_command("verify", fails, "; run again") == code
    assert capsys.readouterr().err.strip() == f"verify: {line}"


@pytest.mark.parametrize(
    "door", ["benchmark", "jobs", "replay", "report", "reproduce", "tune", "verify"]
)
def test_words_that_a_door_does_not_take_are_a_line_and_exit_code_2(door, capsys):
    with pytest.raises(SystemExit) as refused:
        importlib.import_module(f"experiments.{door}").parser().parse_args(["--no-such-word"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{door}: ")
    assert error.count("\n") == 1


def test_any_other_error_is_ours_and_not_hidden():
    def fails() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        cli.run_command("verify", fails)
