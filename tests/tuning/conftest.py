"""Fewer steps of the optimiser in KerasTuner's Bayesian search."""

import pytest
import scipy.optimize


@pytest.fixture(autouse=True, scope="package")
def _few_optimiser_steps():
    minimize = scipy.optimize.minimize
    with pytest.MonkeyPatch.context() as patch:
        few = {"options": {"maxiter": 1}}
        patch.setattr(
            "scipy.optimize.minimize", lambda *args, **kwargs: minimize(*args, **kwargs | few)
        )
        yield
