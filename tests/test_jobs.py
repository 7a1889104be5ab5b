"""The list of jobs: its words, its slices, and what a kill leaves of it."""

import importlib
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from experiments import catalog, jobs, reproduce, verify
from experiments.forensics import elsewhere
from experiments.harness import datasets, doors, interrupts, record
from experiments.harness.spec import UserError
from experiments.joblist import conduct
from experiments.joblist.conduct import Slice
from experiments.joblist.ledger import FILE, Ledger
from experiments.joblist.plan import JOBS, Job

ROOT = Path(__file__).parents[1]
TINY = ["network.width=0.0625", "batch_size=8", "steps=4", "intervals=15", "test_examples=20"]
TRAINED = Job(
    "trained",
    "reproduce",
    ("alexnet_lr_decay", "--json", "--arm", "decayed_rate"),
    tiny=("--scale", "mini", "--telemetry-every", "0", "--set", *TINY),
)
SHOWN = Job("shown", "reproduce", ("alexnet_lr_decay", "--dry-run", "--json", "--scale", "full"))
REFUSED = Job("refused", "reproduce", ("alexnet_lr_dekay",))
UNREAD = Job("unread", "reproduce", ("--scale", "huge"))


@pytest.mark.parametrize("scale", ["full", "tiny"])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_words_of_every_job_are_a_doors_and_its_arms_are_there(
    job, scale, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    now = Slice(Ledger(tmp_path, scale, "jax", "digits"), tmp_path, time.monotonic() + 60)
    words = now.words(job)
    if job.door == "reproduce":
        assert reproduce.main([*words, "--dry-run"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["arms"]
        assert told["scale"] == {"full": "full", "tiny": "mini"}[scale]
        assert {"--time-limit", "--data", "--logdir", "--json"} <= set(words)
    elif job.door == "verify":
        assert verify.chosen(verify.parser().parse_args(words)) == verify.self_test
    else:
        importlib.import_module(f"experiments.{job.door}").parser().parse_args(words)


def test_the_list_has_every_experiment_of_document_002_and_names_that_differ():
    reproduced = {job.words[0] for job in JOBS if job.door == "reproduce"}
    assert {name for name in catalog.names() if name.startswith("alexnet_")} < reproduced
    assert {"constant_init", "init_std_sweep"} < reproduced
    assert len({job.name for job in JOBS}) == len(JOBS)
    assert len({(job.at("full", "jax"), job.apart) for job in JOBS}) == len(JOBS)


def test_it_shows_the_list_without_a_backend(tmp_path):
    code = f"""if True:
        import sys
        from experiments import jobs
        assert jobs.main(["--list", "--logdir", {str(tmp_path)!r}]) == 0
        assert not set(sys.modules) & {{"keras", "tensorflow", "jax", "torch", "numpy"}}
    """
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert all(job.name in made.stdout for job in JOBS)
    assert not any(tmp_path.iterdir())


def test_what_is_over_is_not_done_again_and_a_failure_stops_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "JOBS", (REFUSED, UNREAD, SHOWN))
    words = ["--scale", "tiny", "--data", "digits", "--logdir", str(tmp_path)]
    assert jobs.main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    found = {name: (job["status"], job["code"]) for name, job in told["jobs"].items()}
    assert found == {
        "refused": ("failed", 2),
        "unread": ("failed", 2),
        "shown": ("done", 0),
    }
    assert "did you mean 'alexnet_lr_decay'" in told["jobs"]["refused"]["note"]
    assert "invalid choice: 'huge'" in told["jobs"]["unread"]["note"]
    assert told["left"] == 0
    shown = json.loads((tmp_path / "jobs/shown/stdout").read_text())
    assert shown["experiment"] == "alexnet_lr_decay"
    before = {path: path.read_bytes() for path in tmp_path.rglob(FILE)}
    assert len(before) == 3
    assert jobs.main(words) == 1
    assert "all 3 jobs are over" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert jobs.main([*words, "--retry", "--json"]) == 1
    again = json.loads(capsys.readouterr().out)["jobs"]
    assert [job["slices"] for job in again.values()] == [2, 2, 1]


def test_a_job_is_begun_where_it_has_its_time_and_the_first_at_any_time(tmp_path, monkeypatch):
    called = []

    def call(_, arguments, *, timeout):
        called.append((arguments["name"], timeout))
        Path(arguments["folder"], "stdout").write_text("{}")
        if arguments["name"] == "verify" and timeout:
            raise elsewhere.TooLongError("too long")
        return 0

    monkeypatch.setattr(elsewhere, "call", call)
    ledger = Ledger(tmp_path / "jobs", "full", "jax")
    brief, first = Job("brief", "report", minutes=1), Job("a", "verify", minutes=2)
    long, rest = Job("b", "verify", minutes=5), Job("c", "report", minutes=1)
    now = Slice(ledger, tmp_path, deadline=time.monotonic() + 120)
    conduct.work([brief, long, rest], now, [].append)
    assert [name for name, _ in called] == ["report"]  # no later job goes before
    conduct.work([brief, long, rest], now, [].append)
    assert called[1] == ("verify", 300)  # the slice's first: begun, and given its time
    assert called[2][0] == "report"
    assert [ledger.entry(job).status for job in (brief, long, rest)] == ["done", "failed", "done"]
    over = Slice(ledger, tmp_path, deadline=time.monotonic() + 3600)
    conduct.work([Job("d", "report"), first], over, [].append)
    assert ledger.entry(first).status == "under way"  # it is begun anew, and then as the first
    conduct.work([first], Slice(ledger, tmp_path), [].append)
    assert called[-1] == ("verify", None)
    assert ledger.entry(first).status == "done"


def test_a_slice_ends_with_the_job_that_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "call", lambda *_, **__: interrupts.INTERRUPTED)
    ledger = Ledger(tmp_path / "jobs", "full", "jax")
    jobs_ = [Job("a", "report"), Job("b", "report")]
    conduct.work(jobs_, Slice(ledger, tmp_path), [].append)
    assert [ledger.entry(job).status for job in jobs_] == ["under way", "to do"]


def test_a_file_of_another_job_backend_or_data_is_refused(tmp_path):
    ledger = Ledger(tmp_path, "tiny", "jax")
    ledger.keep(SHOWN, ledger.entry(SHOWN))
    assert ledger.entry(SHOWN).status == "to do"
    for other, job in (
        (Ledger(tmp_path, "tiny", "torch"), SHOWN),
        (Ledger(tmp_path, "tiny", "jax", "digits"), SHOWN),
        (ledger, Job("shown", "reproduce", ("alexnet_lr_decay",))),
    ):
        with pytest.raises(UserError, match="is of another job"):
            other.entry(job)
    report = Job("report", "report")  # which takes no data
    ledger.keep(report, ledger.entry(report))
    assert Ledger(tmp_path, "tiny", "jax", "digits").entry(report).status == "to do"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "bogus"), ("status", None), ("status", []), ("slices", "1"), ("slices", -1),
        ("slices", True), ("seconds", None), ("seconds", math.nan), ("seconds", -1.0),
        ("code", "0"), ("note", None), ("words", 3), ("other", 1),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(field, value, tmp_path):
    ledger = Ledger(tmp_path, "tiny", "jax")
    kept = ledger.keep(SHOWN, ledger.entry(SHOWN))
    (tmp_path / "shown" / FILE).write_text(json.dumps(asdict(kept) | {field: value}))
    with pytest.raises(UserError, match="is damaged"):
        ledger.entry(SHOWN)
    for text in ("[", "[" * 100_000, "3"):
        (tmp_path / "shown" / FILE).write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            ledger.entry(SHOWN)


def test_what_is_printed_while_data_is_fetched_is_not_in_the_json(tmp_path, capsys, monkeypatch):
    def loud(*_):
        print("Downloading")
        return None, "a stand-in"

    monkeypatch.setattr(jobs, "JOBS", (SHOWN,))
    monkeypatch.setattr(datasets, "named", loud)
    assert jobs.main(["--scale", "tiny", "--logdir", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["left"] == 0
    assert "Downloading" in captured.err


def test_data_that_is_not_there_is_told_before_any_job(tmp_path, capsys):
    words = ["--scale", "tiny", "--logdir", str(tmp_path)]
    for source in ("nosuch", "frames"):
        assert jobs.main([*words, "--data", source]) == 2
        assert source in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_in_slices_and_killed_between_it_comes_to_the_undisturbed_runs_bits(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(jobs, "JOBS", (TRAINED, SHOWN))
    words = ["--scale", "tiny", "--data", "digits", "--logdir", str(tmp_path / "a")]
    assert jobs.main([*words, "--time-limit", "0.0001"]) == 0
    assert "runs left: 1" in capsys.readouterr().out
    (path,) = tmp_path.rglob("run.json")
    part = record.load(path.parent)
    assert (part.status, part.intervals) == ("partial", 1)

    code = "import sys; from experiments import jobs; from tests.test_jobs import SHOWN, TRAINED; "
    code += "jobs.JOBS = (TRAINED, SHOWN); sys.exit(jobs.main(sys.argv[1:]))"
    killed = subprocess.Popen([sys.executable, "-c", code, *words], cwd=ROOT)
    while record.load(path.parent).intervals < 3:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    struck = record.load(path.parent).intervals
    assert struck < 15
    assert jobs.main([*words, "--list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["left"] == 2
    entry = told["jobs"]["trained"]
    assert (entry["status"], entry["slices"], entry["code"]) == ("under way", 2, None)

    assert jobs.main(words) == 0
    assert "all 2 jobs are over" in capsys.readouterr().out
    undisturbed = [*TRAINED.at("tiny", "", ["--data", "digits", "--logdir", str(tmp_path / "b")])]
    assert reproduce.main(undisturbed) == doors.DONE
    one, other = (record.load(found.parent) for found in tmp_path.rglob("run.json"))
    assert one.status == other.status == "complete"
    assert one.chain == other.chain
