"""KerasTuner's Bayesian search looks for its next point with fewer steps here."""

import pytest
import scipy.optimize


@pytest.fixture(autouse=True, scope="package")
def _quick():
    minimize = scipy.optimize.minimize
    with pytest.MonkeyPatch.context() as patch:
        few = {"options": {"maxiter": 1}}
        patch.setattr("scipy.optimize.minimize", lambda *a, **told: minimize(*a, **told | few))
        yield


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("experiments.tuning.distributed.worker.PAUSE", 0.01)
