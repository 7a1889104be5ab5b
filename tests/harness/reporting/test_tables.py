import re
from math import inf, nan

import pytest

from experiments.harness.reporting import tables


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([0.98765], "0.9877"),
        ([nan], "nan"),
        ([1.0, 2.0, inf], "1, 2, inf"),
        ([1.0, 3.0, 4.0, 2.0], "2.5 (1 to 4, n=4)"),
        ([1.0, 3.0, nan, nan, inf], "2 (1 to 3, n=2), nan (n=2), inf (n=1)"),
        ([nan, nan, nan, nan], "nan (n=4)"),
    ],
)
def test_spread(values, text):
    assert tables.spread(values) == text


def test_a_claim_has_one_row_for_all_scales():
    def result(scale: str, values: dict, verdict: str, note: str) -> dict:
        claim = {"claim": "it learns", "documented": "0.9", "values": values}
        claims = [{**claim, "verdict": verdict, "note": note}]
        mnist = {"datasets": [{"name": "mnist", "stand_in": False}], "runs": []}
        return {"experiment": "some", "scale": scale, "seeds": [0], "claims": claims, **mnist}

    full = result("full", {}, "INCONCLUSIVE", "runs missing for 1 of 1 seeds")
    middle = result("protocol", {}, "INCONCLUSIVE", "not measurable for 1 of 1 seeds, protocol")
    mini = result("mini", {"0": 0.5, "1": 0.7}, "DIFFERS", "1 of 2 seeds within, mini")
    header, _, row = tables.by_scale([full, mini, middle], "github").splitlines()
    assert header.replace(" ", "") == "||claim|document|mini|protocol|full|"
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "some C1",
        "it learns",
        "0.9",
        "0.5, 0.7: DIFFERS, 1 of 2 seeds within",
        "-: INCONCLUSIVE, not measurable for 1 of 1 seeds",
        "not run",
    ]


def test_documented_values_that_no_run_reached_have_no_table():
    point = {"arm": "a", "interval": 70, "column": "test_accuracy", "documented": 0.56}
    assert tables.reported({"printed": [point | {"measured": []}]}) == ""
    assert "0.56" in tables.reported({"printed": [point | {"measured": [0.5]}]})


def test_progress_names_runs_and_claims_that_lack_something():
    whole_run = {"arm": "a", "seed": 0, "status": "complete", "intervals": 9}
    begun = {"status": "partial", "intervals": 2, "identity": {"intervals": 9}}
    runs = [whole_run, whole_run | begun | {"seed": 1}, whole_run | {"arm": "b"}]
    claims = [{"note": "runs missing for 1 of 2 seeds"}, {"note": "runs missing for 2 of 2 seeds"}]
    result = {"seeds": [0, 1], "runs": runs, "claims": claims}
    assert tables.progress(result) == (
        "a, seed 1: 2 of 9 intervals; b, seed 1: not run; no runs for C2"
    )
    whole = {"seeds": [0], "runs": runs[:1], "claims": [{"note": ""}]}
    assert tables.progress(whole) == ""


def test_campaigns_table_has_a_column_per_backend_and_counts_harms():
    def campaign(backend: str, count: int, lost: int) -> dict:
        row = {"fault": "SIGKILL", "count": count, "intervals lost": lost}
        return {
            "environment": {"backend": backend, "versions": {backend: "1.2"}},
            "table": [row | {"wrong fingerprints": 0, "unclear endings": 0}],
        }

    lines = tables.campaigns([campaign("jax", 50, 0), campaign("torch", 7, 1)]).splitlines()
    assert lines[0].split() == ["jax", "1.2", "torch", "1.2"]
    assert lines[2].split() == ["SIGKILL", "50", "7"]
    assert lines[3].split() == ["intervals", "lost", "0", "1"]


def test_recorded_runs_say_what_each_was_and_why_it_turned_nan():
    saved = """step 31, in interval 4: loss nan

first        term 'a|b' (Log): 1 of 240 nonfinite, [23, 7] is -inf
why          a softmax output underflowed to zero and its logarithm is -inf; times a label of
             zero that is NaN
sample       23 in the batch"""
    run = {"arm": "a", "home": "some:a", "seed": 0, "status": "complete", "fingerprint": "f" * 64}
    run |= {"history": {"loss": [1.0, "nan"]}, "seconds": 5.0}
    run |= {"started": "2026-11-27T15:57:01+00:00"}
    new = run | {"intervals": 9, "seconds": 5400, "cpu_seconds": 9000}
    new |= {"resumed": 2, "nan_cause": saved, "also_started": ["2026-11-26T23:24:19+00:00"]}
    begun = run | {"intervals": 3, "status": "interrupted", "home": "other:a"}
    finite = run | {"intervals": 1, "resumed": 0, "history": {"loss": [1.0]}}
    result = {"experiment": "some", "runs": [new, begun, finite], "environment": {"threads": 3}}
    _, _, *rows = tables.recorded_runs(result, "github").splitlines()
    why = (
        r"step 31, in interval 4: loss nan; term 'a\|b' (Log): 1 of 240 nonfinite, [23, 7] is "
        "-inf; a softmax output underflowed to zero and its logarithm is -inf; times a label of "
        "zero that is NaN"
    )
    began, unknown = "2026-11-27 15:57", ("at most 15 s", "not counted")
    twice = f"2026-11-26 23:24, {began}"
    assert [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows] == [
        ["a", "0", "9", twice, "90 minutes", "2.5 hours", "2", why, "f" * 16],
        ["a", "0", "3, interrupted", began, "5 s", *unknown, "not replayed", "f" * 16],
        ["a", "0", "1", began, "5 s", "at most 15 s", "0", "-", "f" * 16],
    ]
    clock = "90 minutes wall time, of which 5 s for other experiments' arms"
    assert tables.training_time(result) == f"{clock}; CPU time at most 2.5 hours"
    measured = result | {"runs": [new]}
    assert tables.training_time(measured) == "90 minutes wall time; CPU time 2.5 hours"
