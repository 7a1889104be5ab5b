"""Scores: finite values rank as they are, and a diverged trial is worse than all of them."""

import csv
import json
import math
import random
from dataclasses import replace

import pytest

from experiments.harness.spec import Dimension, History, Run
from experiments.tuning import journal, results, runner
from experiments.tuning.objectives import OBJECTIVES
from experiments.tuning.oracles import build, values_of
from experiments.tuning.search import SearchLocation
from experiments.tuning.trial import EPOCHS_KEY, Outcome, scores, summarize_runs
from tests.helpers import fake_search

RATE = "optimizer.learning_rate"
RATES = (Dimension((RATE,), (1e-3, 3e-3, 1e-2, 3e-2)),)
SUMMED = {1e-3: 142.0, 3e-3: 93.0, 1e-2: math.nan, 3e-2: 120.5}
GRID = fake_search.make_search("grid", space=RATES, objective="loss")


def run_with(*losses: float) -> Run:
    rows = [
        {"step": 10 * k, "loss": loss, "test_loss": loss, "test_accuracy": 0.5}
        for k, loss in enumerate(losses, 1)
    ]
    spec = GRID.trainer.template
    return Run(spec, "complete", history=History((*rows,)), chain=("",) * (len(rows) + 1))


def train_summed(values) -> Outcome:
    return summarize_runs([run_with(150.0, SUMMED[values[RATE]])], "loss")


def summed_formula(values) -> Outcome:
    """Return losses of 100 and more; rates above 0.05 diverge."""
    outcome = fake_search.formula(values)
    runs = [run_with(*(math.nan if v is None else 100 / v for v in outcome.curves[0]))]
    return summarize_runs(runs, "loss", values.get(EPOCHS_KEY))


def test_finite_losses_rank_as_they_are_and_a_diverged_one_is_the_worst(tmp_path):
    trials = fake_search.run(GRID, train_summed)
    paths = results.write(GRID, trials, tmp_path)
    assert json.loads(paths["best"].read_text())[RATE] == 3e-3
    with paths["table"].open(newline="") as file:
        table = [float(row["score"]) for row in csv.DictReader(file)]
    assert [table[0], table[1], table[3]] == [142.0, 93.0, 120.5]
    assert 142 < table[2] < math.inf
    assert results.ranking(GRID, trials) == [1, 3, 0]
    assert "93" in results.summary(GRID, trials)


@pytest.mark.parametrize("losses", [[], [0.3], [9.99], [10.0], [93.0, 142.0], [3e38], [-5.0, 1e-3]])
def test_a_diverged_trial_is_worse_than_every_finite_loss(losses):
    score = OBJECTIVES["loss"].diverged_score(losses)
    assert all(loss < score for loss in losses)
    assert math.isfinite(score)
    if max(losses, default=0) < 10:
        assert score == 10, "searches recorded earlier would resume with other trials"


def test_a_trial_with_a_diverged_seed_is_worse_than_every_finite_trial():
    partly = summarize_runs([run_with(1.0), run_with(math.nan)], "loss")
    recovered = summarize_runs([run_with(math.inf, 0.1)], "loss")
    finite = summarize_runs([run_with(700.0), run_with(300.0)], "loss")
    ranked = scores({0: partly, 1: finite, 2: recovered}, "loss")
    assert ranked[1] == 500
    assert ranked[0] == ranked[2] > 500


def test_accuracy_keeps_its_scores():
    nan, fine = run_with(math.nan), run_with(1.0)
    for runs, score in (([fine], 0.5), ([nan], 0.0), ([fine, nan], 0.25)):
        outcome = summarize_runs(runs, "accuracy")
        assert outcome.score == score
        assert scores({7: outcome}, "accuracy") == {7: score}


def test_a_journal_with_losses_cut_at_ten_ranks_by_the_losses(tmp_path):
    trials = {
        n: replace(trial, outcome=replace(trial.outcome, score=10.0))
        for n, trial in fake_search.run(GRID, train_summed).items()
    }
    journal.write(GRID, trials, tmp_path)
    assert results.ranking(GRID, journal.read(GRID, tmp_path)) == [1, 3, 0]


@pytest.mark.parametrize("name", ["bayesian", "hyperband"])
def test_a_search_over_large_losses_resumes_to_the_same_trials(name, tmp_path):
    search = fake_search.make_search(name, trials=11, objective="loss")
    serial = fake_search.run(search, summed_formula)
    assert any(trial.diverged for trial in serial.values())
    kills, known, trained = sorted(random.Random(name).sample(range(len(serial)), 4)), {}, []

    def train(values):
        if kills and len(trained) == kills[0]:
            kills.pop(0)
            raise KeyboardInterrupt
        trained.append(values)
        return summed_formula(values)

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            fake_search.run(search, train, known)
        journal.write(search, known, tmp_path)
        known = journal.read(search, tmp_path)
    assert fake_search.run(search, train, known) == serial


@pytest.mark.parametrize("name", ["bayesian", "hyperband"])
def test_a_search_over_large_losses_is_the_same_for_several_jobs(name, tmp_path):
    search = fake_search.make_search(name, trials=11, objective="loss")
    executor = fake_search.FakeExecutor(summed_formula, jobs=3)
    trials = runner.run_search(search, SearchLocation(tmp_path, "none"), executor)
    assert trials == fake_search.run(search, summed_formula)


def test_the_oracle_sees_a_finite_score_worse_than_all_others():
    search = fake_search.make_search("bayesian", trials=11, objective="loss")
    oracle = build(search, {})
    while trial := oracle.next_trial():
        oracle.record(int(trial.trial_id), summed_formula(values_of(search, trial)))
    oracle._score_trials()
    diverged = {n for n, each in oracle.outcomes.items() if each.has_diverged}
    by_number = {int(key): trial.score for key, trial in oracle.trials.items()}
    worst = max(score for n, score in by_number.items() if n not in diverged)
    assert worst >= 100
    assert {by_number[n] for n in diverged} == {OBJECTIVES["loss"].diverged_score(
        score for n, score in by_number.items() if n not in diverged)}  # fmt: skip
    assert all(worst < by_number[n] < math.inf for n in diverged)


def test_a_search_whose_losses_all_diverge_ends():
    trials = fake_search.run(GRID, lambda _: summarize_runs([run_with(math.nan)], "loss"))
    assert len(trials) == 4
    assert {row["score"] for row in results.rows(GRID, trials)} == {10.0}
    assert results.ranking(GRID, trials) == []
