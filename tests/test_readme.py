"""The README shows what the records hold."""

import json
from pathlib import Path

import pytest

from experiments import catalog
from experiments.harness import tables

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "experiments/records").glob("*.json"))


def test_there_are_records():
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_shown_as_it_is(path):
    record = json.loads(path.read_text())
    readme = (ROOT / "README.md").read_text()
    assert path.stem == f"{record['experiment']}-{record['scale']}"
    assert tables.verdicts(record["claims"], style="github") in readme
    assert f"({path.relative_to(ROOT).with_suffix('.png')})" in readme
    assert path.with_suffix(".png").exists()


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_judges_the_claims_of_today(path):
    record = json.loads(path.read_text())
    claims = catalog.load(record["experiment"]).claims
    today = [(c.text, c.documented, [*map(str, c.bounds_at(record["scale"]))]) for c in claims]
    then = [(c["claim"], c["documented"], [*map(str, c["bounds"])]) for c in record["claims"]]
    assert then == today
