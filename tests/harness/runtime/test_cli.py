"""The exit codes and messages that all commands share."""

import argparse
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
def test_an_error_is_reported_in_one_line_with_its_exit_code(capsys, error, code, line):
    def fails() -> int:
        raise error

    assert cli.run_command("verify", fails, "; run again") == code
    assert capsys.readouterr().err.strip() == f"verify: {line}"


@pytest.mark.parametrize(
    "command", ["benchmark", "replay", "report", "reproduce", "tune", "verify"]
)
def test_an_unknown_option_is_reported_in_one_line_with_exit_code_2(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        importlib.import_module(f"experiments.{command}").parser().parse_args(["--no-such-option"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{command}: ")
    assert error.endswith("; see --help\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (cli.whole_number(1), "0", "'0' is not a whole number >= 1"),
        (cli.whole_number(0, 8), "8", "'8' is not a whole number >= 0 and < 8"),
        (cli.minutes, "0", "'0' is not a positive number of minutes"),
        (cli.key_value, "steps", "'steps' is not of the form KEY=VALUE"),
    ],
)
def test_a_bad_value_is_named_in_the_message(parse, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse(text)
    assert str(error.value) == message


def test_an_unexpected_error_keeps_its_traceback():
    def fails() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        cli.run_command("verify", fails)


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://bucket/x"])
@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("reproduce", ["--logdir"]),
        ("report", ["--logdir"]),
        ("tune", ["--logdir"]),
        ("tune", ["--merge"]),
        ("replay", []),
        ("verify", []),
        ("verify", ["--against"]),
    ],
)
def test_a_remote_directory_is_refused_in_one_line(capsys, command, argv, address):
    with pytest.raises(SystemExit) as exit_info:
        importlib.import_module(f"experiments.{command}").parser().parse_args([*argv, address])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert f"{address} is not a local directory" in error
    assert error.count("\n") == 1


def test_a_system_that_is_not_posix_is_refused_in_one_line(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cli.os, "name", "nt")
        code = cli.run_command("verify", lambda: 0)
    assert code == 2
    assert capsys.readouterr().err == "verify: needs Linux or macOS; on Windows use WSL\n"
