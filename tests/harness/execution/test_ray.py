"""Tasks on a Ray cluster of two nodes of this machine; without Ray, one line."""

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from experiments.harness.execution.ray import Ray
from experiments.harness.execution.task import Task
from experiments.harness.runtime import log
from experiments.harness.spec import ProcessError, UserError
from tests.harness.execution.test_local import has_ended, task

HERE = "tests.harness.execution.test_ray"


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray: pip install 'rerun-zoo\[cluster\]'"):
        Ray("auto", 1)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    nodes.add_node(num_cpus=2)
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def executor(cluster):
    yield (found := Ray(cluster.address, 2))
    found.ray.shutdown()


def process_and_node(seconds: float = 0.0) -> list:
    time.sleep(seconds)
    return [os.getpid(), os.getppid(), os.environ.get("OMP_NUM_THREADS")]


def test_tasks_run_in_clean_processes_of_both_nodes(executor, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tasks = [Task(f"{HERE}:process_and_node", {"seconds": 0.5}, f"{k}") for k in range(4)]
    answers = [answer.result() for answer in executor.run(iter(tasks))]
    assert len({process for process, *_ in answers}) == 4
    assert {threads for *_, threads in answers} == {None}  # Ray sets it in its own workers
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (answer,) = executor.run(iter(tasks[:1]))
    assert answer.result()[2] == "7"


def test_errors_messages_and_deaths_come_back_to_the_caller(executor, tmp_path, capsys):
    tasks = [
        task("fail", "user", kind="user"),
        task("fail", "lookup", kind="lookup"),
        task("announce", "announce", line="trained"),
        task("die", "dies twice", folder=str(tmp_path), times=2),
    ]
    with log.to_stdout():
        answers = {answer.task.name: answer for answer in executor.run(iter(tasks))}
    with pytest.raises(UserError, match=r"^no such thing"):
        answers["user"].result()
    with pytest.raises(ProcessError, match="failed: LookupError: no such thing"):
        answers["lookup"].result()
    assert answers["dies twice"].result() == 3
    out = capsys.readouterr().out
    assert "seed 1: trained\n" in out
    assert (
        out.count("dies twice failed with exit code -9: no error output; it is given out again")
        == 2
    )


def test_closing_ends_the_processes(executor, tmp_path):
    sleeper = Task(
        "tests.harness.execution.test_local:sleep_and_save",
        {"folder": str(tmp_path)},
        "sleeper",
        (tmp_path / "run",),
    )
    with closing(executor.run(iter([sleeper, task("process_id")]))) as answers:
        next(answers)
        while not (names := [path.name for path in tmp_path.glob("[0-9]*")]):
            time.sleep(0.05)
    deadline = time.monotonic() + 30
    while not has_ended(int(names[0])):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not [*tmp_path.glob(".*")]  # the file that showed that the directory is shared


def test_a_node_with_another_environment_is_named_once_and_left_out(executor, caplog):
    tasks = [
        Task(f"{HERE}:process_and_node", {}, f"{k}", start={}, environment={"device": "cpu"})
        for k in range(2)
    ]
    answers = [*executor.run(iter(tasks))]
    assert [answer.status for answer in answers] == ["refused"] * 2
    assert len([line for line in caplog.messages if "is left out" in line]) == 2
    assert json.dumps(answers[0].value)


def test_a_task_of_a_node_that_is_removed_is_done_on_another(cluster, executor, tmp_path):
    node = cluster.add_node(num_cpus=2)
    started = tmp_path / "started"

    def tasks():
        for k in range(6):
            yield Task(f"{HERE}:touch_and_wait", {"path": f"{started}{k}"}, f"{k}")

    with closing(executor.run(tasks())) as answers:
        removed = False
        names = []
        for answer in answers:
            if not removed:
                cluster.remove_node(node)
                removed = True
            names.append(answer.result())
    assert sorted(names) == [f"{started}{k}" for k in range(6)]


def touch_and_wait(path: str) -> str:
    """Note the call; the first of them ends at once."""
    Path(path).touch()
    time.sleep(0.0 if path.endswith("0") else 3.0)
    return path
