"""Arms: trained conditions, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Scale = Literal["full", "protocol", "mini"]
Role = Literal["documented", "diagnosis"]
Config = Mapping[str, Any]


def config(name: str, /, **options: Any) -> dict[str, Any]:
    """Return the Keras config of ``name(**options)``; ``name`` may also be a network of the zoo."""
    return {"class_name": name, "config": options}


@dataclass(frozen=True)
class Arm:
    """One trained condition, as data that serialises to JSON.

    ``network``, ``loss`` and ``optimizer`` are Keras configs; initialisers are options of the
    network. ``metrics`` are Keras's or the harness's own. ``frozen`` names the variables
    (``kernel``, ``bias``) that keep their initial values in every layer.
    ``schedule`` lists ``(interval, factor)``: from that many finished intervals on, the learning
    rate is the optimiser's times the factor. It is empty if the optimiser's ``learning_rate`` is
    itself the config of a Keras schedule, which counts steps.
    ``dataset`` is ``mnist`` or ``frames``. Its first ``held_out`` training examples (at most a
    twelfth of a small stand-in's) are not trained on.
    Training takes ``intervals`` of ``steps`` steps. After each interval, the first
    ``test_examples`` of the test split are evaluated in batches of ``test_batch``, so are the
    first ``train_examples`` of the training split, and ``probes`` measure the model
    (``model/probes.py``); with ``evaluate_first`` also before the first step.
    ``result_file`` is the name of the document's result file and the format of its lines. It does
    not affect training, nor do ``role`` and ``about``.
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
        """Return, as JSON types, all fields that decide the bits of a run."""
        fields = asdict(self)
        del fields["role"], fields["about"], fields["result_file"]
        return json.loads(json.dumps(fields))

    @property
    def has_keras_schedule(self) -> bool:
        """Whether the optimiser's learning rate is the config of a Keras schedule."""
        return isinstance(self.optimizer["config"].get("learning_rate"), Mapping)

    def learning_rate_factor(self, interval: int) -> float:
        """Return the schedule's factor for the interval after ``interval`` finished ones."""
        factors = [factor for start, factor in self.schedule if start <= interval]
        return factors[-1] if factors else 1.0


@dataclass(frozen=True)
class Variant:
    """Another arm with changes.

    ``of`` names the other arm: ``experiment:arm``, or an earlier arm of the same experiment.
    ``changes`` are overrides, applied to the other arm as it is at the same scale; at ``mini``
    those in ``mini`` follow. Without any, the variant is the other arm and shares its runs.
    """

    of: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    mini: Mapping[str, Any] = field(default_factory=dict)
    role: Role = "documented"
    about: str = ""
