"""Where two records of a script differ first, and what kind of difference it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.auditing.record import Event, Record
from experiments.verification.tensor_diff import (
    differing_names,
    first_difference,
    first_differing_batch,
    is_random_state,
)

MODULUS = 2**64
BACKEND_GENERATORS = ("torch", "keras", "tensorflow", "tensorflow generator")


@dataclass(frozen=True)
class Difference:
    """The first difference of two records.

    ``index`` is that of the first event that differs. ``kind`` is one of ``switches.ORDER``,
    ``what`` says it. ``epoch`` 0 and ``step`` 0 are before the first step; ``tensors`` are those
    that differ; ``generators`` are those whose states differed before.
    """

    index: int
    training: int
    kind: str
    what: str
    epoch: int | None = None
    step: int | None = None
    tensors: Sequence[str] = ()
    generators: Sequence[str] = ()


def compare(a: Record, b: Record) -> Difference | None:
    """Return the first difference of two records; None if there is none."""
    index = first_difference(a.essences, b.essences)
    return None if index is None else describe(a, b, index)


def describe(a: Record, b: Record, index: int) -> Difference:
    """Return what differs at an event, the first that does."""
    if index >= min(len(a.events), len(b.events)):
        longer = a if index < len(a.events) else b
        event = longer.events[index]
        what = f"one run goes on with {_named(event)} where the other has ended"
        return Difference(index, event["training"], "control flow", what)
    x, y = a.events[index], b.events[index]
    generators = _differing_generators(a, b, index)
    if x["type"] != y["type"] or x["training"] != y["training"] or x["type"] == "begin":
        what = f"the runs do different things: {_named(x)}, and {_named(y)}"
        return Difference(index, x["training"], "control flow", what, generators=generators)
    kind, what, step, tensors = {
        "state": _state_difference,
        "batches": _batches_difference,
        "step": _step_difference,
    }[x["type"]](a, b, index)
    return Difference(index, x["training"], kind, what, x.get("epoch"), step, tensors, generators)


Found = tuple[str, str, int | None, Sequence[str]]  # kind, what, step, tensors


def _state_difference(a: Record, b: Record, index: int) -> Found:
    x, y = a.events[index], b.events[index]
    names = differing_names(x["tensors"], y["tensors"])
    if x.get("batch") != y.get("batch"):
        return "content", "the first batch: its examples or their order", 1, ()
    if not names:
        metrics = ", ".join(
            f"{name} {x['logs'].get(name)} and {y['logs'].get(name)}"
            for name in differing_names(x["logs"], y["logs"])[:3]
        )
        what = f"only the metrics: {metrics}" if metrics else "the recorded state"
        return "metrics", what, x["step"], ()
    if x["when"] == "start":
        if all(map(is_random_state, names)):
            return "masks", "the state of a seed generator, which draws dropout masks", 0, names
        again = any(event["type"] == "state" for event in a.of_training(x["training"] - 1))
        what = "the weights before the first step" if again else "the initial weights"
        return "weights", what, 0, names
    if x["when"] == "first step":
        what = "the initial weights or the first step (the model is built within it)"
        return "weights", what, 1, names
    if x["when"] == "end" and x["step"] is None:
        kind = next(each["kind"] for each in a.beginnings if each["training"] == x["training"])
        what = "as callbacks left them" if kind == "fit" else "whose steps are compiled"
        return "between steps", f"the weights after training, {what}", None, names
    kind, what = _step_kind(a, b, index, names)
    return kind, what, x["step"], names


def _step_kind(a: Record, b: Record, index: int, names: Sequence[str]) -> tuple[str, str]:
    """Return the kind of a difference that arose since the state before."""
    generators = _differing_generators(a, b, index)
    if any(map(is_random_state, names)) or set(generators) & {*BACKEND_GENERATORS}:
        return "masks", "a step's random numbers, such as dropout masks"
    return "arithmetic", "a step's arithmetic"


def _batches_difference(a: Record, b: Record, index: int) -> Found:
    x, y = a.events[index], b.events[index]
    if x["count"] != y["count"]:
        what = f"the number of batches: {x['count']} and {y['count']}"
        return "content", what, min(x["count"], y["count"]) + 1, ()
    names = differing_names(x["checksums"], y["checksums"])
    pairs = [(x["checksums"].get(name, ""), y["checksums"].get(name, "")) for name in names]
    step = min(first_differing_batch(*pair) or 0 for pair in pairs) if pairs else 0
    if x["examples"] == y["examples"]:
        return "order", "the order of the data: the same examples in another order", step + 1, names
    return "content", f"the content of the data: {', '.join(names)}", step + 1, names


def _step_difference(a: Record, b: Record, index: int) -> Found:
    x, y = a.events[index], b.events[index]
    names = differing_names(x["checksums"], y["checksums"])
    if names:
        same = _all_examples(a, x["training"]) == _all_examples(b, x["training"])
        if same:
            what = "the order of the data: the same examples in another order"
            return "order", what, x["step"], names
        return "content", f"the content of the data: {', '.join(names)}", x["step"], names
    if x["small"] == y["small"]:
        metrics = ", ".join(differing_names(x["logs"], y["logs"]))
        return "metrics", f"only what the step returned: {metrics}", x["step"], ()
    kind, what = _step_kind(a, b, index, ())
    return kind, what, x["step"], ()


def _all_examples(record: Record, training: int) -> int:
    steps = (event for event in record.of_training(training) if event["type"] == "step")
    return sum(int(event["examples"], 16) for event in steps) % MODULUS


def _differing_generators(a: Record, b: Record, index: int) -> list[str]:
    """Return the generators whose states differed at the last state before the event.

    At the event itself if there is none before.
    """
    earlier = [n for n in range(index) if a.events[n]["type"] == "state"]
    states = [r.events[earlier[-1] if earlier else index].get("random", {}) for r in (a, b)]
    return differing_names(*states)


def _named(event: Event) -> str:
    if event["type"] == "begin":
        return f"{event['kind']} of {event['model']} at {event['line']}"
    place = f"epoch {event['epoch']}" if event.get("epoch") else f"step {event.get('step')}"
    return f"{place} of training {event['training']}"
