"""The first difference of two records, named. Records are written by hand."""

from pathlib import Path

import pytest

from experiments.auditing.comparison import compare
from experiments.auditing.record import Record

RANDOM = {"python": "p", "numpy": "n"}


def begin(training=1, kind="fit", line="train.py:9"):
    return {"type": "begin", "training": training, "kind": kind, "model": "m", "line": line}


def state(when, epoch=None, step=None, training=1, random=RANDOM, logs=None, **tensors):
    return {
        "type": "state",
        "training": training,
        "when": when,
        "epoch": epoch,
        "step": step,
        "tensors": tensors or {"kernel": "k"},
        "logs": logs or {},
        "random": random,
    }


def batches(epoch, x, examples="e", training=1):
    checksums = {"x": "".join(f"{each:8}" for each in x), "y": "y" * 8 * len(x)}
    return {
        "type": "batches",
        "training": training,
        "epoch": epoch,
        "count": len(x),
        "checksums": checksums,
        "examples": examples,
    }


def step(number, x="x", examples="01", small="s", logs=None):
    checksums = {"x": x}
    found = {"type": "step", "training": 1, "step": number, "checksums": checksums}
    return found | {"examples": examples, "small": small, "logs": logs or {}}


def record(*events):
    return Record(Path(), events, (), {}, {})


START, EPOCH = state("start", 0), state("epoch", 1, kernel="after")
FIT = (begin(), START, batches(1, "ab"), EPOCH)
LOOP = (begin(kind="train_on_batch"), state("start", step=0), step(1), step(2, examples="02"))


def test_equal_records_have_no_difference_whatever_the_global_generators():
    other = state("start", 0, random={"python": "other"})
    assert compare(record(*FIT), record(FIT[0], other, *FIT[2:])) is None


@pytest.mark.parametrize(
    ("events", "index", "event", "kind", "epoch", "at", "tensors"),
    [
        (FIT, 1, state("start", 0, kernel="z"), "weights", 0, 0, ["kernel"]),
        (FIT, 2, batches(1, "az", "z"), "content", 1, 2, ["x"]),
        (FIT, 2, batches(1, "ba"), "order", 1, 1, ["x"]),
        (FIT, 2, batches(1, "abc"), "content", 1, 3, []),
        (FIT, 3, state("epoch", 1, kernel="z"), "arithmetic", 1, None, ["kernel"]),
        (
            FIT,
            3,
            state("epoch", 1, logs={"loss": "1.0"}, kernel="after"),
            "metrics",
            1,
            None,
            [],
        ),
        (FIT, 0, begin(line="train.py:10"), "control flow", None, None, []),
        (LOOP, 2, step(1, x="z", examples="07"), "content", None, 1, ["x"]),
        (LOOP, 3, step(2, examples="02", small="z"), "arithmetic", None, 2, []),
        (LOOP, 3, step(2, examples="02", logs={"loss": "1"}), "metrics", None, 2, []),
    ],
)
def test_the_first_difference_is_named(events, index, event, kind, epoch, at, tensors):
    other = [*events]
    other[index] = event
    found = compare(record(*events), record(*other))
    assert (found.index, found.kind, found.epoch, found.step) == (index, kind, epoch, at)
    assert [*found.tensors] == tensors


def test_only_the_state_of_a_seed_generator_is_about_masks():
    path = "seed_generator/seed_generator_state"
    first, second = (state("start", 0, **{"kernel": "k", path: value}) for value in "ab")
    found = compare(record(begin(), first), record(begin(), second))
    assert (found.kind, [*found.tensors]) == ("masks", [path])


def test_a_backend_generator_that_differed_before_makes_it_about_masks():
    starts = [state("start", 0, random=RANDOM | {"torch": value}) for value in "ab"]
    a, b = (
        record(begin(), s, state("epoch", 1, kernel=v)) for s, v in zip(starts, "yz", strict=True)
    )
    found = compare(a, b)
    assert (found.kind, found.generators) == ("masks", ["torch"])


def test_steps_in_another_order_are_told_from_steps_on_other_data():
    swapped = [*LOOP[:2], step(1, "z", "02"), step(2, "x", "01")]
    loop = [*LOOP[:2], step(1, "x", "01"), step(2, "z", "02")]
    found = compare(record(*loop), record(*swapped))
    assert (found.kind, found.step) == ("order", 1)


def test_a_run_that_goes_on_is_a_difference():
    found = compare(record(*FIT), record(*FIT, batches(2, "ab")))
    assert (found.index, found.kind) == (4, "control flow")
    assert "epoch 2 of training 1" in found.what


def test_a_first_batch_that_differs_is_not_taken_for_the_weights_made_in_that_step():
    firsts = [state("first step", 1, 1, kernel=v) | {"batch": {"x": v}} for v in "ab"]
    found = compare(*(record(begin(), first) for first in firsts))
    assert (found.kind, found.step) == ("content", 1)


@pytest.mark.parametrize(
    ("kind", "words"), [("fit", "as callbacks left them"), ("compiled", "whose steps are compiled")]
)
def test_a_last_state_that_differs_is_said_in_the_words_of_its_training(kind, words):
    begins = begin(kind=kind), state("start", 0)
    a, b = (record(*begins, state("end", kernel=value)) for value in "ab")
    found = compare(a, b)
    assert (found.kind, found.step) == ("between steps", None)
    assert words in found.what
