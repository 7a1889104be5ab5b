"""Which settings are changed to find a cause, and in which order."""

from experiments.harness.runtime import cpu, env_vars
from experiments.verification import causes
from tests.helpers.environment import ENVIRONMENT


def test_every_number_of_threads_is_tried_likely_ones_first(monkeypatch):
    monkeypatch.setattr(cpu, "available_count", lambda: 6)
    names = [name for name, _ in causes.candidates(ENVIRONMENT | {"threads": 4})]
    counts = [name.split()[1] for name in names if name.startswith("threads: ")]
    assert counts == ["6", "1", "2", "3", "5"]


def test_one_setting_is_changed_at_a_time():
    recorded = causes.recorded_start(ENVIRONMENT)
    for cause, start in causes.candidates(ENVIRONMENT):
        changed = [name for name in recorded if start[name] != recorded[name]]
        assert len(changed) == 1, cause


def test_xlas_ynn_fusion_is_a_cause_in_both_directions(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    flag, jax = env_vars.CORRECT_XLA_FLAG, ENVIRONMENT | {"backend": "jax"}
    for omitted, other, switched in (
        ([], [flag], "on instead of off"),
        ([flag], [], "off instead of on"),
    ):
        settings = env_vars.resolve("jax", True, {}, omitted)
        recorded = causes.recorded_start(jax | {"settings": settings})
        assert env_vars.resolve("jax", True, recorded["settings"], omitted) == settings
        tried = dict(causes.candidates(jax | {"settings": settings}))
        assert recorded["omitted_flags"] == omitted
        assert tried[f"XLA's YNN fusion: {switched}"]["omitted_flags"] == other
