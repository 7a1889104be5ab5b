"""The wordings that records and their pages hold stay as they are."""

from experiments.harness.reporting import labels

REAL = {"name": "mnist", "stand_in": False}
STAND_IN = {"name": "digits", "stand_in": True}


def test_stand_in_data_is_labelled():
    assert labels.dataset_in_title(STAND_IN) == "digits, a stand-in"
    assert labels.dataset_in_text(STAND_IN) == "digits (a stand-in, not the document's data)"
    assert labels.stand_in_warning(STAND_IN) == ": A STAND-IN, not the document's data"
    result = {"scale": "mini", "datasets": [REAL, STAND_IN], "runs": [], "claims": []}
    assert labels.scale_in_table(result) == "mini, STAND-IN DATA"


def test_the_documents_own_data_has_no_label():
    assert labels.dataset_in_title(REAL) == labels.dataset_in_text(REAL) == "mnist"
    assert labels.stand_in_warning(REAL) == ""
    run = {"changes": {}, "status": "complete"}
    result = {"scale": "full", "datasets": [REAL], "runs": [run], "claims": [{"note": ""}]}
    assert labels.scale_in_table(result) == "full"


def test_claims_that_lack_runs_are_labelled():
    run = {"changes": {}, "status": "complete"}
    missing = {"note": "runs missing for 2 of 3 seeds"}
    result = {"scale": "full", "datasets": [REAL], "runs": [run], "claims": [missing]}
    assert labels.scale_in_table(result) == "full, runs not complete"


def test_changed_arms_are_labelled():
    run = {"changes": {"steps": 3}, "status": "partial"}
    result = {"scale": "full", "datasets": [REAL], "runs": [run], "claims": []}
    assert labels.scale_in_table(result) == "full, runs not complete, arms changed"
