"""Arms: trained conditions, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Scale = Literal["full", "mini"]
Role = Literal["documented", "diagnosis"]
Config = Mapping[str, Any]


def config(name: str, /, **options: Any) -> dict[str, Any]:
    """Return what Keras deserialises as ``name(**options)``; also names a network of the zoo."""
    return {"class_name": name, "config": options}


@dataclass(frozen=True)
class Arm:
    """One trained condition, as data: it prints as JSON, hashes, and can be overridden.

    ``dataset`` is ``mnist`` or ``frames``; ``held_out`` of its training examples, the first ones,
    are kept out of training (a twelfth of them at most, where a stand-in has few).
    ``network``, ``loss`` and ``optimizer`` are configs; initialisers are options of the network.
    ``metrics`` are Keras's, or the harness's own; ``frozen`` names the variables (``kernel``,
    ``bias``) that keep their initial values in every layer.
    ``schedule`` lists ``(interval, factor)``: from that many finished intervals on, the learning
    rate is the optimiser's own times the factor. ``intervals`` of ``steps`` steps each; after
    each one, the first ``test_examples`` of the test split are evaluated, ``test_batch`` at once,
    and as many as ``train_examples`` of the training split; with ``evaluate_first`` also before
    the first step. ``probes`` measure more of the model then (``harness/probes.py``).
    ``result_file`` is the name of the document's own result file and the format of a line in it;
    with ``role`` and ``about`` it decides no bits.
    """

    network: Config
    loss: Config
    optimizer: Config
    batch_size: int
    steps: int
    intervals: int
    schedule: tuple[tuple[int, float], ...] = ()
    dataset: str = "mnist"
    held_out: int = 0
    test_examples: int = 10_000
    test_batch: int = 1_000
    train_examples: int = 0
    evaluate_first: bool = False
    metrics: tuple[str, ...] = ("accuracy", "logit_gap")
    probes: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    result_file: tuple[str, str] | None = None
    role: Role = "documented"
    about: str = ""

    def identity(self) -> dict[str, Any]:
        """Return, as JSON types, all that decides the bits of a run of this arm."""
        told = asdict(self)
        del told["role"], told["about"], told["result_file"]
        return json.loads(json.dumps(told))

    def learning_rate_factor(self, interval: int) -> float:
        """Return the schedule's factor for the interval after ``interval`` finished ones."""
        begun = [factor for start, factor in self.schedule if start <= interval]
        return begun[-1] if begun else 1.0


@dataclass(frozen=True)
class Variant:
    """An arm told by another one: ``of`` (``experiment:arm``, or an arm of the same experiment).

    ``changes`` are overrides, made after the other arm's own, and ``mini`` those made at that scale
    after them. Without any it is the other arm itself, and its runs are that arm's runs.
    """

    of: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    mini: Mapping[str, Any] = field(default_factory=dict)
    role: Role = "documented"
    about: str = ""
