"""What every door answers."""

import pytest

from experiments.harness import doors
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

    assert doors.answered("verify", fails, "; run again") == code
    assert capsys.readouterr().err.strip() == f"verify: {line}"


def test_any_other_error_is_ours_and_not_hidden():
    def fails() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        doors.answered("verify", fails)
