from dataclasses import replace
from math import inf, isnan, log, nan

import numpy as np
import pytest

from experiments import catalog
from experiments.harness.spec import (
    Arm,
    Claim,
    Experiment,
    History,
    Run,
    RunSpec,
    Verdict,
    config,
    judge,
    measures,
)
from experiments.harness.spec.run import UnfinishedHistory

DATA = {"stand_in": True}
LAST_LOSS = measures.final("a", "loss")
ARM = Arm(config("alexnet"), config("loss"), config("SGD"), batch_size=1, steps=1, intervals=4)


def run(arm: str, seed: int = 0, status="complete", scale="mini", **history: list[float]) -> Run:
    spec = RunSpec("e", arm, ARM, seed, scale, DATA, {})
    table = History.from_columns(history)
    return Run(spec, status, history=table, chain=tuple("abcdefgh"[: 1 + len(table.rows)]))


def experiment(*claims: Claim) -> Experiment:
    ids = {name: f"e:{name}" for name in "ab"}
    at = {scale: dict.fromkeys("ab", ARM) for scale in ("full", "mini", "protocol")}
    cost = {"mini": "", "full": ""}
    return Experiment("t", "q", "d", {"a": ARM}, claims, (), cost, arm_ids=ids, at=at)


def outcome(bounds: tuple[float, float], *runs: Run, measure=LAST_LOSS) -> str:
    claim = Claim("text", "where", measure, "1", (9, 9), bounds)
    (verdict,) = judge.judge(experiment(claim), runs)
    return verdict.outcome


def test_a_claim_is_reproduced_if_every_seed_is_within_its_bounds_ends_included():
    runs = [run("a", seed, loss=[5.0, value]) for seed, value in enumerate([1.0, 2.0])]
    assert outcome((1, 2), *runs) == "REPRODUCED"
    assert outcome((1, 1.5), *runs) == "INCONCLUSIVE"
    assert outcome((3, 4), *runs) == "DIFFERS"


def test_only_the_documents_own_arms_size_and_data_refute_it():
    own = run("a", scale="full", loss=[1.0])
    own = replace(own, spec=replace(own.spec, dataset={"stand_in": False}))
    assert outcome((0, 0), own) == "REFUTED"
    for changes in ({"scale": "protocol"}, {"dataset": DATA}, {"overrides": {"steps": 1}}):
        other = replace(own, spec=replace(own.spec, **changes))
        assert outcome((0, 0), other) == "DIFFERS", changes


def test_bounds_set_after_a_run_are_noted():
    old = replace(run("a", loss=[1.0]), started="2026-11-26T08:00:00+00:00")
    again = replace(old, started="2026-11-27T08:00:00+00:00", first_started=old.started)
    repeat = replace(again, first_started="", also_started=(old.started,))
    unread = replace(run("b", loss=[1.0]), started="2026-11-25T08:00:00+00:00")
    for set_on, noted in (("", False), ("2026-11-26T07:59", False), ("2026-11-26T08:27", True)):
        claim = Claim("text", "where", LAST_LOSS, "1", (9, 9), (1, 1), set_on=set_on)
        for first in (old, again, repeat):
            (verdict,) = judge.judge(experiment(claim), [first, unread])
            assert ("bounds set after the runs" in verdict.note) == noted, set_on


def test_a_run_that_turned_nan_before_the_bound_might_have_passed_it():
    turned = run("a", loss=[1.0, nan], test_loss=[1.0, nan], test_accuracy=[0.2, 0.1])
    stayed = run("b", loss=[1.0, 1.0], test_loss=[1.0, 1.0], test_accuracy=[0.2, 0.1])
    runs = {"a": turned, "b": stayed}
    assert str(measures.first_above_or_nan("a", "test_accuracy", 0.3)(runs)) == "nan"
    assert measures.first_above_or_nan("b", "test_accuracy", 0.3)(runs) == inf
    assert measures.first_above_or_nan("a", "test_accuracy", 0.15)(runs) == 1
    assert measures.last_finite("b", "test_accuracy")(runs) == 0.1
    assert measures.last_finite("b", "test_accuracy", until="a")(runs) == 0.2
    assert measures.last_finite("a", "test_accuracy", until="b")(runs) == 0.2
    largest = {arm: measures.largest(arm, "test_accuracy") for arm in runs}
    assert str(measures.if_finite("a", largest["a"])(runs)) == "nan"
    assert measures.if_finite("b", largest["b"])(runs) == 0.2


def test_the_extremes_of_measures_are_nan_if_one_is():
    runs = {"a": run("a", loss=[1.0, nan], test_loss=[1.0, 2.0])}
    known, unknown = measures.final("a", "test_loss"), LAST_LOSS
    for extreme in (measures.least_of, measures.largest_of):
        assert extreme(known, known)(runs) == 2
        assert str(extreme(known, unknown)(runs)) == "nan"
        assert str(extreme(unknown, known)(runs)) == "nan"
    assert measures.largest_known(unknown, known)(runs) == 2
    assert str(measures.largest_known(unknown, unknown)(runs)) == "nan"


def test_a_number_needs_no_run():
    miniature = run("b", 3, status="partial", loss=[1.0])
    claim = Claim("text", "where", 2, "1", (1, 1), (2, 2))
    (verdict,) = judge.judge(experiment(claim), [miniature])
    assert verdict == Verdict(claim, {3: 2}, "REFUTED", "")


def test_nan_is_not_a_measured_value():
    assert outcome((-inf, inf), run("a", loss=[nan])) == "INCONCLUSIVE"
    assert outcome((1, 2), run("a", loss=[nan]), run("a", 1, loss=[1.0])) == "INCONCLUSIVE"
    assert outcome((3, 4), run("a", loss=[nan]), run("a", 1, loss=[1.0])) == "DIFFERS"


def test_a_run_that_overrides_made_shorter_does_not_decide_what_comes_later():
    row = {"loss": [2.0, nan], "test_loss": [2.0, nan]}
    for intervals, verdict in ((4, "REPRODUCED"), (2, "INCONCLUSIVE")):
        changed = run("a", **row)
        arm = replace(ARM, intervals=intervals)
        changed = replace(changed, spec=replace(changed.spec, arm=arm, overrides={"intervals": 0}))
        assert outcome((2, 2), changed, measure=measures.final("a", "test_loss")) == "INCONCLUSIVE"
        assert outcome((1, 1), changed, measure=measures.nan_intervals("a")) == verdict
        assert outcome((2, 2), changed, measure=measures.first_nan("a")) == "REPRODUCED"


def test_the_earlier_nan_of_two_arms_is_known_before_the_other_one_ends():
    turned = run("a", loss=[1.0, nan], test_loss=[1.0, nan], test_accuracy=[0.2, 0.1])
    longer = run("b", loss=[1.0] * 3, test_loss=[1.0] * 3, test_accuracy=[0.3, 0.4, 0.5])
    runs = {"a": turned, "b": replace(longer, history=UnfinishedHistory(longer.history.rows))}
    assert measures.last_finite("a", "test_accuracy", until="b")(runs) == 0.2
    assert measures.last_finite("b", "test_accuracy", until="a")(runs) == 0.3


@pytest.mark.parametrize("status", ["partial", "interrupted", "running"])
def test_an_unfinished_run_counts_if_it_got_as_far_as_the_claim_needs(status):
    row = {"loss": [2.0, nan], "test_loss": [2.0, nan], "test_accuracy": [0.1, 0.4]}
    begun, whole = run("a", status=status, **row), run("b", **row)
    decided = {
        measures.at("a", "test_accuracy", 2): 0.4,
        measures.at_share("a", "test_accuracy", 0.5): 0.4,
        measures.first_above("a", "test_accuracy", 0.3): 2,
        measures.first_nan("a"): 2,
        measures.nan_share("a"): 0.5,
        measures.last_finite("a", "test_accuracy"): 0.1,
        measures.last_finite("b", "test_accuracy", until="a"): 0.1,
        measures.at_first_nan("a", "test_accuracy"): 0.4,
    }
    for measure, value in decided.items():
        assert outcome((value, value), begun, whole, measure=measure) == "REPRODUCED", value
    undecided = [
        measures.final("a", "loss"),
        measures.at("a", "loss", 3),
        measures.at_share("a", "loss", 0.75),
        measures.first_above("a", "test_accuracy", 0.5),
        measures.nan_intervals("a"),
        measures.largest("a", "test_accuracy"),
        measures.smallest("a", "test_accuracy"),
        measures.mean("a", "test_accuracy"),
        measures.max_distance("a", "b", "test_accuracy"),
        lambda runs: runs["a"].history["loss"][1:3][0],
        lambda runs: np.max(runs["a"].history["loss"]),
    ]
    for measure in undecided:
        assert outcome((-inf, inf), begun, whole, measure=measure) == "INCONCLUSIVE"
    first = outcome((2, 2), begun, measure=lambda runs: runs["a"].history["loss"][:1][0])
    assert first == "REPRODUCED"
    assert outcome((0, 9), run("b", loss=[1.0])) == "INCONCLUSIVE"
    passed, open_still = run("a", **row), run("a", 1, status=status, **row)
    for bounds in ((9, 9), (-inf, inf)):  # whatever the other seed says
        assert outcome(bounds, passed, open_still, measure=measures.nan_intervals("a")) == (
            "INCONCLUSIVE"
        )


def test_measures():
    a = run("a", loss=[3, 2, nan, nan], test_loss=[9, 8, 7, nan], test_accuracy=[0.2, 0.9, 0, 0],
            logit_gap=[5, 60, 90, nan])  # fmt: skip
    b = run("b", loss=[3, 2], test_loss=[9, 8], test_accuracy=[0.2, 0.95], logit_gap=[5, 70])
    runs = {"a": a, "b": b}
    assert measures.first_nan("a")(runs) == 3
    assert measures.first_nan("b")(runs) == inf
    assert measures.nan_intervals("a")(runs) == 2
    assert measures.nan_intervals("b")(runs) == 0
    assert measures.first_above("a", "test_accuracy", 0.3)(runs) == 2
    assert measures.first_above("a", "test_accuracy", 0.9)(runs) == inf
    assert measures.final("a", "test_accuracy")(runs) == 0
    assert measures.last_finite("a", "test_accuracy")(runs) == 0.9
    assert measures.last_finite("b", "test_accuracy")(runs) == 0.95
    assert measures.largest("a", "logit_gap")(runs) == 90
    assert measures.at_first_nan("a", "logit_gap")(runs) == 90
    assert str(measures.at_first_nan("b", "logit_gap")(runs)) == "nan"
    gained = measures.difference(
        measures.final("b", "test_accuracy"), measures.last_finite("a", "test_accuracy")
    )
    assert gained(runs) == pytest.approx(0.05)


def test_the_last_finite_value_of_a_run_that_never_was_finite_is_nan():
    assert (
        str(measures.last_finite("a", "loss")({"a": run("a", loss=[nan], test_loss=[nan])}))
        == "nan"
    )


@pytest.mark.parametrize("name", catalog.names())
def test_every_experiment_can_be_judged_before_it_is_run(name):
    experiment = catalog.load(name)
    owner, arm = next(iter(experiment.arm_ids.values())).split(":")
    partial = run(arm, status="partial")
    partial = replace(partial, spec=replace(partial.spec, experiment=owner))
    verdicts = judge.judge(experiment, [partial])
    assert any(not verdict.values for verdict in verdicts)
    for verdict in verdicts:
        if not verdict.values:  # unlike claims that need no run
            assert verdict.outcome == "INCONCLUSIVE"
            assert "runs missing for 1 of 1 seeds" in verdict.note


def test_the_note_names_the_limits_of_a_verdict():
    claim = Claim("text", "where", LAST_LOSS, "1", (0, 9))
    runs = [run("a", 0, loss=[1.0]), run("a", 1, status="partial", loss=[1.0])]
    (verdict,) = judge.judge(experiment(claim), runs)
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.note == "runs too short for 1 of 2 seeds, mini, STAND-IN DATA"
    (verdict,) = judge.judge(experiment(claim), [runs[0], run("b", 1, loss=[1.0])])
    assert verdict.outcome == "REPRODUCED"
    assert verdict.note == "runs missing for 1 of 2 seeds, mini, STAND-IN DATA"


def test_only_a_miniature_is_judged_by_bounds_of_its_own():
    claim = Claim("text", "where", LAST_LOSS, "1", (0, 2), (5, 9))
    for scale, value, note in [
        ("full", 1.0, ""),
        ("protocol", 1.0, "protocol"),
        ("mini", 6.0, "mini"),
    ]:
        ran = run("a", loss=[value])
        spec = replace(ran.spec, scale=scale, dataset={"stand_in": False})
        (verdict,) = judge.judge(experiment(claim), [replace(ran, spec=spec)])
        assert (verdict.outcome, verdict.note) == ("REPRODUCED", note)


def test_a_misspelt_column_is_an_error():
    with pytest.raises(KeyError, match="los"):
        outcome((0, 9), run("a", loss=[1.0]), measure=measures.final("a", "los"))


def test_a_column_that_overrides_removed_is_not_measured():
    changed = run("a", loss=[1.0])
    changed = replace(changed, spec=replace(changed.spec, overrides={"probes": []}))
    assert outcome((0, 9), changed, measure=measures.final("a", "los")) == "INCONCLUSIVE"


def test_measures_of_two_arms_and_of_parts_of_a_run():
    a = replace(run("a", loss=[1, 2, 4, 8], x=[1, 2, nan, 4]), initial={"v": 2.0, "w": 8.0})
    b = run("b", loss=[1, 1, 1, 1], x=[1, 2, 3, 5])
    runs = {"a": a, "b": b}
    loss, other = measures.final("a", "loss"), measures.final("b", "loss")
    assert measures.at("a", "loss", 2)(runs) == 2
    assert str(measures.at("a", "loss", 5)(runs)) == "nan"
    assert measures.at_share("a", "loss", 0.5)(runs) == 2
    assert measures.smallest("a", "x")(runs) == 1
    assert measures.mean("a", "x")(runs) == pytest.approx(7 / 3)
    assert measures.max_distance("a", "b", "loss")(runs) == 7
    assert measures.ratio(loss, other)(runs) == 8
    assert str(measures.ratio(loss, lambda _: 0)(runs)) == "nan"
    assert measures.least_of(loss, other)(runs) == 1
    assert measures.largest_of(loss, other)(runs) == 8
    first, last = measures.initial("a", "v"), measures.initial("a", "w")
    assert measures.per_layer(first, last, 2)(runs) == 2
    assert str(measures.per_layer(lambda _: 0, last, 2)(runs)) == "nan"
    never = run("c", loss=[1.0], test_loss=[1.0])
    assert measures.nan_share("c")({"c": never}) == inf


def test_a_growth_rate_is_fitted_while_the_column_rises():
    steps = [100.0, 200.0, 300.0, 400.0, 500.0]
    grows = run("a", step=steps, spread=[0.0, 1e-6, 1e-4, 1e-2, 0.7])
    rate = measures.growth_rate("a", "spread", 1e-7, 0.1)
    assert rate({"a": grows}) == pytest.approx(log(100) / 100)
    assert measures.steps_to_grow(rate, 1e-8, 1e-2)({"a": grows}) == pytest.approx(300)
    equal = {"a": run("a", step=steps, spread=[0.0] * 5)}
    assert isnan(rate(equal))
    assert isnan(measures.steps_to_grow(rate, 1e-8, 1e-2)(equal))
    shrinks = {"a": run("a", step=steps, spread=[1e-2, 1e-3, 1e-4, 1e-5, 1e-6])}
    assert measures.steps_to_grow(rate, 1e-8, 1e-2)(shrinks) == inf
