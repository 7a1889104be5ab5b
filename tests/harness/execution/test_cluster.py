"""Tasks on a Ray cluster of two nodes of this machine; without Ray, one line.

One of the nodes does not see the files in ``own``, if this process may mount.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from experiments import audit, verify
from experiments.harness.execution.cluster.executor import Ray
from experiments.harness.execution.task import Task
from experiments.harness.runtime import log
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import checkpoint
from tests.harness.execution.test_local import has_ended, task
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT

TASKS = "tests.helpers.cluster_tasks"
START = "from ray.scripts.scripts import main; main()"
MOUNT = 'mount -t tmpfs none "$0" && exec "$@"'


def test_without_ray_or_without_a_cluster_the_error_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray: pip install 'rerun-zoo\[cluster\]'"):
        Ray("auto", 1)

    def init(*_, **__):
        raise RuntimeError("Version mismatch: Ray 2.60.0 there, 2.40.0 here\nThe cluster was ...")

    exceptions = SimpleNamespace(RayError=OSError)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, exceptions=exceptions))
    with pytest.raises(UserError) as refused:
        Ray("auto", 1)
    assert str(refused.value) == (
        "no Ray cluster answers at auto: Version mismatch: Ray 2.60.0 there, 2.40.0 here"
    )
    with pytest.raises(UserError, match=r"answers at 127\.0\.0\.1:1: .*Connection refused"):
        Ray("127.0.0.1:1", 1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return a cluster: its address, its second node, and the folder that this one lacks."""
    ray = pytest.importorskip("ray")
    own = tmp_path_factory.mktemp("own")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else 15
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")  # else 30
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-c", START, "start", "--num-cpus", "1", "--block"]
    argv = [*start, "--head", "--port", f"{port}", "--include-dashboard", "false"]
    head = subprocess.Popen(argv, stdout=subprocess.DEVNULL, process_group=0)
    executor = connect(f"127.0.0.1:{port}", head)  # on the head, while there is no other node
    argv = [*start, "--address", f"127.0.0.1:{port}"]
    may_mount = not subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", own], capture_output=True, check=False
    ).returncode
    argv = ["unshare", "-m", "bash", "-c", MOUNT, own, *argv] if may_mount else argv
    node = subprocess.Popen(argv, stdout=subprocess.DEVNULL, process_group=0)
    while len([each for each in ray.nodes() if each["Alive"]]) < 2:
        assert node.poll() is None
        time.sleep(0.1)
    yield SimpleNamespace(
        address=f"127.0.0.1:{port}", executor=executor, node=node, own=own, may_mount=may_mount
    )
    ray.shutdown()
    for process in (node, head):
        process.terminate()
        process.wait()
    monkeypatch.undo()


def connect(address: str, head: subprocess.Popen) -> Ray:
    """Return an executor on the cluster, once its head has started."""
    while True:
        try:
            return Ray(address, 1, snapshot=0.0)
        except UserError:
            assert head.poll() is None
            time.sleep(0.5)


@pytest.fixture
def executor(cluster):
    cluster.executor.nodes.refresh()
    return cluster.executor


def test_tasks_run_in_clean_processes(executor, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tasks = [Task(f"{TASKS}:describe_process", {"seconds": 0.5}, f"{k}") for k in range(4)]
    answers = [answer.result() for answer in executor.run(iter(tasks))]
    assert len({process for process, _ in answers}) == 4
    assert {threads for _, threads in answers} == {None}  # Ray sets it in its own workers
    assert len([node for node, tasks in executor.nodes.task_counts.items() if tasks]) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (answer,) = executor.run(iter(tasks[:1]))
    assert answer.result()[1] == "7"


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
    line = "dies twice failed with exit code -9: no error output; it is started again"
    assert out.count(line) == 2


def test_a_node_with_another_environment_is_named_once_and_left_out(executor, caplog):
    here = {"device": "cpu"}
    refused = Task(f"{TASKS}:describe_process", {}, "a task", start={}, environment=here)
    (answer,) = executor.run(iter([refused]))
    assert answer.status == "refused"
    assert len([line for line in caplog.messages if "is left out" in line]) == 2
    assert json.dumps(answer.value)


def test_nodes_that_cannot_start_the_backend_are_named_and_left_out(executor, caplog):
    unusable = Task(f"{TASKS}:describe_process", {}, "a task", backend="mxnet", start={})
    usable = Task(f"{TASKS}:describe_process", {}, "another")
    answers = {answer.task.name: answer for answer in executor.run(iter([unusable, usable]))}
    with pytest.raises(UserError, match=r"^no node can be used: .*mxnet"):
        answers["a task"].result()
    assert answers["another"].result()
    assert len([line for line in caplog.messages if "is left out" in line]) == 2


def test_a_node_without_the_files_gets_copies_and_sends_them_back(cluster, executor):
    if not cluster.may_mount:
        pytest.skip("needs the right to mount a file system")
    tasks = []
    for name in "abcd":
        folder = cluster.own / name
        paths = folder / "run", folder / "given"
        for path in paths:
            path.mkdir(parents=True)
        (paths[0] / "old").write_text(name)
        (paths[1] / "input").write_text(name)
        arguments = dict(zip(("directory", "given"), map(str, paths), strict=True))
        tasks.append(Task(f"{TASKS}:edit", arguments, name, paths[:1], paths[1:]))
    answers = [*executor.run(iter(tasks))]
    sent = [answer for answer in answers if answer.note]
    assert 0 < len(sent) < len(answers)
    assert re.fullmatch(r"under 0\.1 MB from node [0-9a-f]{8}", sent[0].note)
    for answer in answers:
        assert "run" in answer.result()
        folder = cluster.own / answer.task.name
        assert {path.name for path in (folder / "run").iterdir()} - {".lock"} == {"new"}
        assert [path.name for path in (folder / "given").iterdir()] == ["input"]
    assert not [*cluster.own.rglob(".[0-9a-f]*")]  # the files that show which node shares them
    lists = [Task(f"{TASKS}:names", {"folder": str(cluster.own)}, f"{k}") for k in range(2)]
    found = [answer.result() for answer in executor.run(iter(lists))]
    assert sorted(map(len, found)) == [0, 4 * 2]  # no copy is left


SCRIPT = """
import keras, numpy as np
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, shuffle=False, verbose=0)
"""


@pytest.mark.slow
def test_a_script_is_audited_on_the_nodes(cluster, tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert audit.main(["--cluster", cluster.address, str(script)]) == 0
    out, progress = capsys.readouterr()
    assert out.startswith("identical, 2 epochs")
    assert "  run 1: " in progress
    assert "  run 2: " in progress
    if cluster.may_mount:
        (cluster.own / "script.py").write_text("print('no training')")
        assert audit.main(["--cluster", cluster.address, str(cluster.own / "script.py")]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert re.search(r"(is not on \S+; put it under the same path|trained nothing)", line)


def test_a_run_is_verified_on_a_node(cluster, capsys):
    run = corrupted_runs.train(str(cluster.own / "recorded"), ENVIRONMENT, None)
    assert verify.main([run, "--cluster", cluster.address]) == 0
    assert "identical, 4 intervals" in capsys.readouterr().out


PROGRAM = f"""
import sys
from pathlib import Path
from experiments.harness.execution.cluster.executor import Ray
from experiments.harness.execution.task import Task
from experiments.harness.runtime import cli, signals
def work():
    paths = [Path(sys.argv[2]) / name for name in "ab"]
    tasks = [Task("{TASKS}:announce_and_save", dict(folder=str(p)), p.name, (p,)) for p in paths]
    return len([path.mkdir(parents=True) for path in paths] + [*Ray(sys.argv[1], 1).run(tasks)])
signals.exit_process(cli.run_command("program", work, "; run again to resume"))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_tasks_end_with_their_caller(cluster, number):
    folder = cluster.own / f"ended by {number}"
    argv = [sys.executable, "-c", PROGRAM, cluster.address, folder]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as caller:
        started = [int(caller.stdout.readline().split()[1]) for _ in range(2)]
        caller.send_signal(number)
        deadline = time.monotonic() + 30
        error = caller.stderr.read()
    while not all(map(has_ended, started)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number == signal.SIGTERM:
        assert caller.returncode == 130
        assert error.splitlines()[-1] == "program: interrupted; run again to resume"
        assert len([*folder.glob("[ab]/saved")]) == 2


def test_a_task_of_a_node_that_ends_goes_on_elsewhere_from_its_newest_state(cluster, executor):
    runs = [cluster.own / name / "run" for name in ("moves", "stays")]
    tasks = [Task(f"{TASKS}:save_states", {"folder": str(run)}, run.name, (run,)) for run in runs]

    def end_node():
        while not all(max(checkpoint.saved(run / "state"), default=0) >= 2 for run in runs):
            time.sleep(0.05)
        cluster.node.terminate()

    for run in runs:
        run.mkdir(parents=True)
    thread = threading.Thread(target=end_node, daemon=True)
    thread.start()
    answers = [*executor.run(iter(tasks))]
    thread.join()
    first, second = sorted((answer.result() for answer in answers), key=len)
    assert second == [*range(8)]
    assert 3 <= first[0] <= 7
    assert all([*checkpoint.saved(run / "state")] == [0, 6, 7] for run in runs)
