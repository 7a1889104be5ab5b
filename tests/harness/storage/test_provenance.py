"""The commit of a run's code, at the start and at the end of its training."""

import json
from dataclasses import replace

from experiments.harness.data import mnist
from experiments.harness.storage import provenance, run_directory, run_record
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from experiments.verification import report
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT

DIGITS = mnist.load("digits")[0]


def test_code_that_changes_during_a_run_is_recorded_and_shown(tmp_path, monkeypatch, caplog):
    spec = corrupted_runs.plan_run(DIGITS, ENVIRONMENT, intervals=2)
    directory = run_directory.directory_of(spec, tmp_path)
    monkeypatch.setattr(provenance, "commit", lambda: "abc")
    part = run_one.train_or_load(spec, tmp_path, DIGITS, TrainOptions(stop_after=1))
    assert (part.commit, part.commit_at_end, provenance.change(part)) == ("abc", "abc", "")
    monkeypatch.setattr(provenance, "commit", lambda: "abc+")
    run = run_one.train_or_load(spec, tmp_path, DIGITS)
    line = "the code changed during the run: abc at its start, abc (modified) at its end"
    assert (run.commit, run.commit_at_end) == ("abc", "abc+")
    assert line in caplog.messages
    assert run_record.read(directory) == run
    payload = report.summary(run, replace(run, commit_at_end=None), [], None)
    assert report.text(payload).splitlines()[-1] == f"first run: {line}"


def test_a_record_without_the_commit_at_the_end_is_read(tmp_path):
    spec = corrupted_runs.plan_run(DIGITS, ENVIRONMENT, intervals=1)
    run = run_one.train_or_load(spec, tmp_path, DIGITS)
    path = run_directory.directory_of(spec, tmp_path) / "run.json"
    record = json.loads(path.read_text())
    del record["commit_at_end"]
    path.write_text(json.dumps(record))
    assert run_record.read(path.parent) == replace(run, commit_at_end=None)


def test_a_commit_is_described_with_its_changes():
    assert provenance.describe("abc") == "abc"
    assert provenance.describe("abc+") == "abc (modified)"
    assert provenance.describe(None) == "no commit"
