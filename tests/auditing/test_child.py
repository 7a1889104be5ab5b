"""The process that runs a script: as Python would, with its switches. No script imports Keras."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from experiments.auditing.processes import Request, Script, ScriptError, error_output

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script's source with switches; return its record and what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    numbers = count()

    def run(source, *switches, arguments=(), **request):
        path = tmp_path / "sub" / "script.py"
        path.write_text(source)
        script = Script(path, arguments, tmp_path / f"scratch{next(numbers)}")
        script.backend = "tensorflow"
        run.script = script
        found = script.run(Request(switches, **request))
        return found, (found.folder / "stdout.txt").read_text()

    return run


LOOKS = """\
import sys
print("numpy" in sys.modules, "keras" in sys.modules, "experiments" in sys.modules)
print(__name__, __file__, sys.argv[1:], sys.path[0])
import os
print(os.getcwd(), sys.stdin.read() == "")
"""


def test_a_script_runs_as_main_with_its_arguments_path_and_directory(run, tmp_path):
    _, printed = run(LOOKS, arguments=["--epochs", "3"])
    folder = tmp_path / "sub"
    assert printed.splitlines() == [
        "False False False",
        f"__main__ {folder}/script.py ['--epochs', '3'] {folder}",
        f"{tmp_path} True",
    ]


def test_random_states_and_hashes_are_those_without_an_audit(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    source = "import random\nrandom.seed(3)\nprint(random.random(), hash('a'), {'b', 'c', 'd'})"
    _, printed = run(source)
    script = tmp_path / "sub" / "script.py"
    assert (
        printed == subprocess.run([sys.executable, script], capture_output=True, text=True).stdout
    )


def test_a_package_of_the_scripts_own_with_our_name_is_the_scripts(run, tmp_path):
    (tmp_path / "sub" / "experiments").mkdir()
    (tmp_path / "sub" / "experiments" / "__init__.py").write_text("MINE = True")
    assert run("import experiments\nprint(experiments.MINE)")[1] == "True\n"


def test_ours_can_be_imported_where_there_is_no_other(run):
    source = "import experiments, sys\nprint(experiments.__file__, sys.path[-1])"
    assert run(source)[1] == f"{ROOT}/experiments/__init__.py {ROOT}\n"


def test_the_scripts_own_failure_is_its_own(run):
    with pytest.raises(ScriptError, match=r"^script.py itself failed: ValueError: too few$"):
        run("def load():\n    raise ValueError('too few')\nload()\n")
    shown = error_output(run.script.scratch / "1")
    assert shown.splitlines()[0] == "Traceback (most recent call last):"
    assert "child.py" not in shown
    assert "runpy" not in shown
    assert shown.splitlines()[-1] == "ValueError: too few"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nsys.exit(3)", "script.py itself failed: exit code 3"),
        ("import sys\nsys.exit('no data')", "script.py itself failed: no data"),
        ("import os\nos.kill(os.getpid(), 9)", "script.py was ended by SIGKILL"),
        ("import os\nos._exit(0)", "script.py ended its process itself, so the audit is not"),
        ("x = (", "script.py itself failed: SyntaxError: '(' was never closed"),
    ],
)
def test_other_endings_are_told_apart(run, source, message):
    with pytest.raises(ScriptError) as error:
        run(source)
    assert str(error.value).startswith(message)


def test_an_exit_code_of_zero_is_a_success(run):
    assert run("import sys\nprint(1)\nsys.exit()")[1] == "1\n"


def test_a_run_that_takes_too_long_is_ended(run):
    with pytest.raises(ScriptError, match="did not end within 1 s"):
        run("import time\ntime.sleep(60)", timeout=1)


UNSEEDED = {
    "python_seed": "import random\nprint(random.random(), random.Random().random())",
    "numpy_seed": "import numpy as np\nprint(np.random.rand(), np.random.default_rng().random(), "
    "np.random.RandomState().rand())",
    "hash_seed": "print({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})",
    "clock": "import time\nfrom datetime import datetime\nprint(time.time_ns(), datetime.now())",
    "threads_in_turn": """\
import os, threading, time
from concurrent.futures import ThreadPoolExecutor, as_completed
seen = []
def work(n):
    time.sleep(os.urandom(1)[0] / 5000)
    seen.append(n)
threads = [threading.Thread(target=work, args=[n]) for n in range(9)]
[t.start() for t in threads]
[t.join() for t in threads]
with ThreadPoolExecutor(9) as pool:
    [pool.submit(work, n) for n in range(9)]
print(seen)
""",
}


@pytest.mark.parametrize("switch", UNSEEDED)
def test_a_switch_makes_what_it_pins_repeat_and_nothing_else_does(run, switch):
    others = [name for name in UNSEEDED if name != switch]
    source = UNSEEDED[switch]
    assert run(source, *others)[1] != run(source, *others)[1]
    (first, printed), (_, again) = run(source, switch), run(source, switch)
    assert printed == again
    lines = first.calls.get(switch, {})
    assert all(line.startswith("script.py:") for line in lines)
    assert bool(lines) == (switch != "hash_seed")


def test_libraries_keep_the_clock(run):
    source = "import time, logging\nprint(logging.LogRecord(*['a'] * 7).created, time.time())"
    library, own = map(float, run(source, "clock")[1].split())
    assert library > own + 1e6


def test_files_are_evidence_unless_the_script_wrote_them_first(run, tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    source = "open('data.csv').read()\nopen('new', 'w').write('x')\nopen('new').read()\n"
    found, _ = run(source)
    assert [Path(path).name for path in found.end["files"]] == ["data.csv"]
    assert [Path(path).name for path in found.end["written"]] == ["new"]
    (tmp_path / "data.csv").write_text("1,3")
    assert run(source)[0].end["files"] != found.end["files"]


def test_threads_of_the_script_are_evidence_with_their_line(run):
    threads = "import threading\nthreading.Thread(target=print).start()\n"
    pool = "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(print)"
    assert run(threads + pool)[0].end["threads"] == {"script.py:2": 1, "script.py:4": 1}
    assert run("import subprocess\nsubprocess.run(['true'])")[0].end["threads"] == {}


def test_the_record_is_written_without_the_scripts_forks(run):
    source = "import os\nif not os.fork():\n    raise SystemExit(0)\nos.wait()\n"
    found, _ = run(source)
    lines = (found.folder / "record.jsonl").read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["end"]
