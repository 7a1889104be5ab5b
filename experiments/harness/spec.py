"""The vocabulary: what an experiment is made of, as frozen data. Standard library only."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from experiments.harness.panels import PANELS, Panel, Printed
from experiments.harness.space import SPACE, Dimension

Scale = Literal["full", "mini"]
Role = Literal["documented", "diagnosis"]
Status = Literal["running", "interrupted", "partial", "complete"]
Config = Mapping[str, Any]


class UserError(Exception):
    """Something that the person at the keyboard can mend; doors print it as one line, exit 2."""


class ProcessError(RuntimeError):
    """Another process failed; tells the last line of its stderr."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a phrase that offers the known name most like ``name``, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


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


@dataclass(frozen=True)
class Run:
    """What one training left behind.

    ``experiment`` and ``arm_name`` are those that the arm belongs to, whoever names it too.
    ``changes`` are the overrides that the user asked for, already made in ``arm``.
    ``initial`` maps what was measured before the first step to its values, ``history`` a column's
    name to its values, one an interval; ``chain`` holds the fingerprint before the first step and
    after each interval, ``digests`` at the same places each tensor's digest by its path, and as
    ``batches`` a mark for each of the interval's steps (``harness/fingerprint.py``).
    """

    experiment: str
    arm_name: str
    arm: Arm
    seed: int
    scale: Scale
    dataset: Mapping[str, Any]
    environment: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "running"
    initial: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    digests: tuple[Mapping[str, str], ...] = ()
    started: str = ""
    seconds: float = 0.0
    commit: str | None = None

    @property
    def home(self) -> str:
        """The arm that it belongs to, as ``experiment:arm``."""
        return f"{self.experiment}:{self.arm_name}"

    @property
    def intervals(self) -> int:
        """The number of finished intervals."""
        return max(0, len(self.chain) - 1)

    @property
    def fingerprint(self) -> str | None:
        """The chain's last link, None before there is one."""
        return self.chain[-1] if self.chain else None


Measure = Callable[[Mapping[str, Run]], float]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """A document's sentence, made executable.

    ``measure`` maps the runs of one seed, by arm, to a number; it must fall in ``bounds``, both
    ends included, and in ``mini_bounds`` (the same where None) at that scale. Bounds are fixed
    before the runs. ``documented`` is what the document says, as it is to be shown; ``instead``
    what the measurement shows instead, told where the claim is REFUTED.
    """

    text: str
    where: str
    measure: Measure
    documented: str
    bounds: Bounds
    mini_bounds: Bounds | None = None
    instead: str = ""

    def bounds_at(self, scale: Scale) -> Bounds:
        """Return the interval that holds at ``scale``."""
        return self.bounds if scale == "full" or self.mini_bounds is None else self.mini_bounds


@dataclass(frozen=True)
class Verdict:
    """A claim, the value measured for each seed, and what follows."""

    claim: Claim
    values: Mapping[int, float]
    outcome: Literal["REPRODUCED", "REFUTED", "INCONCLUSIVE"]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """A question, where it was put, and everything needed to answer it.

    ``mini`` maps override paths to the miniature's values, for every ``Arm``; a ``Variant`` has the
    other arm's. ``mini_names`` are the arms trained at that scale, where not all are.
    ``documented`` maps an arm to what the document prints of it; ``cost`` says how long one seed
    takes at each scale; ``seeds`` are trained unless others are asked for; ``deviations`` are
    numbered from 1, in order; ``framework`` says what the document's framework did by default and
    Keras does not. A search varies the ``space`` of the arm ``searched``, the first one where not
    told. The catalogue fills in ``name``, ``at`` (every arm at each scale, its variants
    made) and ``homes`` (the arm as ``experiment:arm`` that each name stands for).
    """

    title: str
    question: str
    document: str
    arms: Mapping[str, Arm | Variant]
    claims: tuple[Claim, ...]
    deviations: tuple[str, ...]
    cost: Mapping[Scale, str]
    mini: Mapping[str, Any] = field(default_factory=dict)
    documented: Mapping[str, Printed] = field(default_factory=dict)
    framework: tuple[str, ...] = ()
    mini_names: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    panels: tuple[Panel, ...] = PANELS
    space: tuple[Dimension, ...] = SPACE
    searched: str = ""
    name: str = ""
    at: Mapping[Scale, Mapping[str, Arm]] = field(default_factory=dict)
    homes: Mapping[str, str] = field(default_factory=dict)

    def named(self, run: Run) -> str:
        """Return what this experiment calls the arm of ``run``; ``KeyError`` where it has none."""
        return {home: name for name, home in self.homes.items()}[run.home]
