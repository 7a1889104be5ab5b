import pytest

from experiments.benchmarks import summary
from experiments.benchmarks.rounds import RoundResult
from experiments.harness.reporting import benchmark_tables


def result(steps: float, interval: float) -> RoundResult:
    return RoundResult(steps, interval, {"host": 2_000_000_000})


RESULTS = {
    "harness jax": [result(1, 2), result(1, 2), result(4, 5)],
    "fit jax": [result(2, 3), result(1, 2), result(2, 4)],
}


def test_rates_are_medians_and_ratios_are_taken_round_by_round():
    by_measure = summary.summarize(RESULTS, images=100)
    assert by_measure["steps"]["harness jax"] == {
        "rate": {"median": 100, "low": pytest.approx(62.5), "high": 100},
        "ratios": {},
    }
    ratio = by_measure["steps"]["fit jax"]["ratios"]["harness jax"]
    assert ratio == {"median": 1, "low": 0.75, "high": 1.5, "overall": pytest.approx(5 / 6)}
    assert by_measure["interval"]["fit jax"]["ratios"]["harness jax"]["overall"] == 1


def test_a_single_round_has_no_spread():
    assert summary.spread([3.0]) == {"median": 3, "low": 3, "high": 3}


def test_the_table_shows_rate_share_memory_and_ratio():
    network = {
        "batch_size": 10,
        "steps": 10,
        "flops": 1_000,
        "backends": dict.fromkeys(RESULTS, "jax"),
        "memory": {name: rounds[-1].memory for name, rounds in RESULTS.items()},
        "summary": summary.summarize(RESULTS, images=100),
    }
    overview = benchmark_tables.overview(
        {"device": "cpu", "networks": {"alexnet": network}}
    ).splitlines()
    assert overview[0].split("  ")[0] == "way of training, cpu"
    assert "1.00 (0.75 to 1.50)" in overview[-1]
    line = benchmark_tables.rounds(network, "steps", {"jax": 40_000}, "simple").splitlines()[-1]
    assert line.split(None, 2)[:2] == ["fit", "jax"]
    assert "50 (50 to 75)" in line  # images a second
    assert "12 %" in line  # of 40,000 operations a second, at 100 an image
    assert "2.0 of host" in line
    assert "1.00 (0.75 to 1.50), 0.83" in line
