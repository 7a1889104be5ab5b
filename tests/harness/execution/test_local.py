"""Tasks in processes of this machine: answers, deaths, refusals and interrupts."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from experiments.harness.execution.local import InThisProcess, Local
from experiments.harness.execution.task import Task
from experiments.harness.runtime import log
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError

HERE = "tests.harness.execution.test_local"


def task(function: str, name: str = "a task", **arguments) -> Task:
    return Task(f"{HERE}:{function}", arguments, name)


def process_id(value: int = 0, seconds: float = 0.0) -> list[int]:
    time.sleep(seconds)
    return [value, os.getpid()]


def fail(kind: str) -> None:
    raise {"user": UserError, "lookup": LookupError}[kind]("no such thing")


def die(folder: str, times: int) -> int:
    """Kill this process the first ``times`` times; then return how often it was called."""
    calls = len([*Path(folder).iterdir()])
    (Path(folder) / f"{calls}").touch()
    if calls < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls + 1


def announce(line: str) -> None:
    with log.prefixed("seed 1: "):
        logger.info(line)
        logger.warning("damaged")


def sleep_and_save(folder: str) -> None:
    """Outlast the test; save a file if interrupted."""
    (Path(folder) / f"{os.getpid()}").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (Path(folder) / f"saved {os.getpid()}").touch()
        raise


@pytest.mark.parametrize("executor", [InThisProcess(), Local(2)])
def test_answers_come_back_with_their_tasks_and_processes_are_kept_warm(executor):
    tasks = [task("process_id", f"task {k}", value=k) for k in range(6)]
    answers = [*executor.run(iter(tasks))]
    assert sorted(answer.task.name for answer in answers) == [each.name for each in tasks]
    assert all(a.result()[0] == a.task.arguments["value"] for a in answers)
    processes = {answer.result()[1] for answer in answers}
    assert 1 <= len(processes) <= 2
    assert (os.getpid() in processes) == isinstance(executor, InThisProcess)


def test_a_task_is_taken_when_it_can_start_and_none_waits_for_an_answer():
    events = []

    def tasks():
        for k in range(2):
            events.append(f"take {k}")
            yield task("process_id", f"{k}", value=k)
        events.append("wait")
        yield None
        events.append("last")
        yield task("process_id", "last")

    events.extend(f"answer {answer.task.name}" for answer in Local(3).run(tasks()))
    assert events[:3] == ["take 0", "take 1", "wait"]
    assert events[3] in ("answer 0", "answer 1")
    assert events.index("last") > 3
    with pytest.raises(RuntimeError, match="waits for an answer, but none is due"):
        next(Local(1).run(iter([None])))


def test_a_tasks_error_is_its_answer_and_its_process_lives_on():
    tasks = [task("fail", kind="user"), task("fail", kind="lookup"), task("process_id", value=3)]
    user, lookup, last = Local(1).run(iter(tasks))
    assert (user.status, lookup.status, last.result()[0]) == ("failed", "failed", 3)
    with pytest.raises(UserError, match=r"^no such thing"):
        user.result()
    with pytest.raises(ProcessError, match="failed: LookupError: no such thing"):
        lookup.result()


@pytest.mark.parametrize("times", [2, 3])
def test_a_task_whose_process_dies_is_started_three_times_at_most(times, tmp_path, caplog):
    caplog.set_level("INFO", logger="rerun_zoo")
    tasks = [task("die", folder=str(tmp_path), times=times), task("process_id", value=7)]
    answers = {answer.task.function: answer for answer in Local(1).run(iter(tasks))}
    died, other = answers[f"{HERE}:die"], answers[f"{HERE}:process_id"]
    assert len([*tmp_path.iterdir()]) == 3
    line = "a task failed with exit code -9: no error output; it is started again"
    assert caplog.messages == [line] * 2
    assert other.result()[0] == 7
    if times == 2:
        assert died.result() == 3
    else:
        assert died.status == "lost"
        with pytest.raises(ProcessError, match=r"exit code -9: .*; 3 attempts"):
            died.result()


def test_a_process_with_another_environment_refuses():
    here = {"threads": 64, "backend": "tensorflow"}
    refused = Task(f"{HERE}:process_id", {}, "a task", start={}, environment=here)
    (answer,) = Local(1).run(iter([refused]))
    assert answer.status == "refused"
    with pytest.raises(UserError, match=r"another environment than this one: .*threads \(64 here"):
        answer.result()


def test_messages_are_logged_here_unless_their_level_is_disabled(capsys):
    for level, lines in ((10, "seed 1: trained\nseed 1: damaged\n"), (20, "seed 1: damaged\n")):
        with log.to_stdout(), log.quiet(level):
            assert len([*Local(1).run(iter([task("announce", line="trained")]))]) == 1
        assert capsys.readouterr().out == lines


def test_closing_interrupts_the_tasks_which_save_what_they_have(tmp_path):
    def tasks():
        yield task("sleep_and_save", folder=str(tmp_path))
        yield task("sleep_and_save", folder=str(tmp_path))
        yield task("process_id")

    answers = Local(3).run(tasks())
    with closing(answers):
        next(answers)
        while len([*tmp_path.iterdir()]) < 2:
            time.sleep(0.01)
    saved = [path.name for path in tmp_path.glob("saved *")]
    assert len(saved) == 2
    assert all(has_ended(int(name.removeprefix("saved "))) for name in saved)


def test_tasks_end_with_a_killed_caller(tmp_path):
    code = f"from {HERE} import *; "
    code += f"[*Local(2).run(iter([task('sleep_and_save', folder={str(tmp_path)!r})] * 2))]"
    caller = subprocess.Popen([sys.executable, "-c", code])
    while len(names := [path.name for path in tmp_path.iterdir()]) < 2:
        assert caller.poll() is None
        time.sleep(0.01)
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 30
    while not all(has_ended(int(name)) for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
