import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import catalog
from experiments.harness.spec import Run, RunSpec, identity
from experiments.harness.storage import published

LINKS = tuple(f"{number:064x}" for number in (1 << 200, 2 << 200, 3 << 200))
HERE = {"backend": "jax", "cpu": "portable-1", "versions": {"jax": "1"}}


def run_of(chain=LINKS, seed=0, **environment) -> Run:
    arm = catalog.load("alexnet_lr_decay").at["mini"]["decayed_rate"]
    dataset = {"name": "digits", "sha256": "d", "stand_in": True}
    spec = RunSpec("alexnet_lr_decay", "decayed_rate", arm, seed, "mini", dataset, HERE)
    return Run(replace(spec, environment=HERE | environment), chain=chain)


def test_a_run_is_compared_with_the_one_published_for_its_environment(tmp_path):
    published.publish([run_of()], tmp_path)
    same = published.compare(run_of(), tmp_path)
    assert (same.intervals, same.differs_at, same.environments) == (2, None, [HERE])
    assert published.compare(run_of(LINKS[:2]), tmp_path).intervals == 1, "stopped early"
    other = published.compare(run_of((*LINKS[:2], LINKS[0])), tmp_path)
    assert (other.intervals, other.differs_at) == (2, 2)


def test_a_run_of_another_environment_seed_or_arm_is_not_compared(tmp_path):
    published.publish([run_of()], tmp_path)
    elsewhere = published.compare(run_of(cpu="EPYC"), tmp_path)
    assert (elsewhere.intervals, elsewhere.environments) == (0, [HERE])
    assert published.compare(run_of(seed=1), tmp_path).environments == []
    other_arm = run_of()
    shorter = replace(other_arm.spec, arm=replace(other_arm.spec.arm, steps=1))
    assert published.compare(replace(other_arm, spec=shorter), tmp_path).environments == []


def test_fields_that_an_older_environment_lacks_do_not_count(tmp_path):
    published.publish([run_of()], tmp_path)
    assert published.compare(run_of(caches="L2 512K"), tmp_path).intervals == 2


def test_of_older_runs_only_the_last_link_is_published(tmp_path):
    path = published.publish([run_of()], tmp_path)
    entry = json.loads(path.read_text())
    entry["runs"][0] |= {"first": 2, "chain": LINKS[2][: published.DIGITS]}
    path.write_text(json.dumps(entry))
    published.load.cache_clear()
    assert published.compare(run_of(), tmp_path).intervals == 2
    assert published.compare(run_of((*LINKS[:2], LINKS[0])), tmp_path).differs_at == 2
    assert published.compare(run_of(LINKS[:2]), tmp_path).intervals == 0, "nothing to compare"
    published.publish([run_of(LINKS[:2])], tmp_path)
    assert published.compare(run_of(), tmp_path).intervals == 2, "a shorter run replaces nothing"
    published.publish([run_of()], tmp_path)
    assert published.compare(run_of(LINKS[:2]), tmp_path).intervals == 1


def test_publishing_again_replaces_a_chain_and_keeps_the_others(tmp_path):
    published.publish([run_of(), run_of(seed=1)], tmp_path)
    path = published.publish([run_of(LINKS[::-1], seed=1)], tmp_path)
    assert [row["seed"] for row in json.loads(path.read_text())["runs"]] == [0, 1]
    assert published.compare(run_of(), tmp_path).differs_at is None
    assert published.compare(run_of(seed=1), tmp_path).differs_at == 0


@pytest.mark.parametrize(
    "path", sorted(published.FOLDER.glob("*.json")), ids=lambda path: path.stem
)
def test_published_chains_are_of_known_arms_and_their_environment_is_in_the_name(path: Path):
    entry = json.loads(path.read_text())
    experiment, scale = path.stem.rsplit("-", 2)[:2]
    assert path.stem.endswith(identity.json_digest(entry["environment"])[:8])
    assert entry["environment"].get("deterministic", True)
    arms = catalog.load(experiment).at[scale].values()
    known = {identity.json_digest(arm.identity())[: published.DIGITS] for arm in arms}
    assert {row["identity"] for row in entry["runs"]} <= known
