"""The jobs of the documents' full-size results, as data, in the order of their worth.

At the scale ``tiny`` the same list is rehearsed on a CPU: other sizes, fewer arms, one backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Scale = Literal["full", "tiny"]


DATASET = "mnist"  # the documents'
HEEDED = {  # of the words that are told for a slice, those that a door takes
    "reproduce": ("--logdir", "--data", "--time-limit"),
    "verify": ("--backend",),
    "benchmark": ("--data", "--backends"),
    "report": ("--logdir",),
}


@dataclass(frozen=True)
class Job:
    """A call of a door of ``experiments``: ``words``, those for JAX alone, then those of the scale.

    ``minutes`` is what it is given at the least: it is begun where as much of a slice is left, or
    as a slice's first. ``apart`` names a folder for its runs below the others', which they are not
    to be mixed with.
    """

    name: str
    door: str
    words: tuple[str, ...] = ()
    jax: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    minutes: float = 1.0
    apart: str = ""

    @property
    def heeds(self) -> tuple[str, ...]:
        """The options that its door takes of those that are told for a slice."""
        return HEEDED.get(self.door, ())

    def at(self, scale: Scale, backend: str, where: Sequence[str] = ()) -> tuple[str, ...]:
        """Return all words on ``backend``, with those that say ``where`` and for how long."""
        own = self.jax if backend == "jax" else ()
        return (*self.words, *own, *where, *(self.full if scale == "full" else self.tiny))


FULL = ("--scale", "full")
MINI = ("--scale", "mini")
SMALL = (  # AlexNet's; --set takes all words that follow
    *("--set", "network.width=0.03125", "batch_size=8", "steps=4", "intervals=6"),
    "test_examples=20",
)
QUIET = ("--telemetry-every", "0")
ONE = (*QUIET, "--arm", "as_documented", *SMALL)
ROUND = ("--networks", "mnist-cnn", "--ways", "harness", "fit", "--rounds", "1")
BRIEF = (*QUIET, "--intervals", "3")  # the CNN's


def reproduced(
    experiment: str,
    *words: str,
    tiny: tuple[str, ...],
    jax: tuple[str, ...] = (),
    name: str = "",
) -> Job:
    """Return the job that trains an experiment at full scale."""
    words = (experiment, "--json", *words)
    return Job(name or experiment, "reproduce", words, jax, FULL, (*MINI, *tiny))


def alexnet(experiment: str) -> Job:
    """Return the job of an experiment of document 002, for the first of its seeds."""
    return reproduced(experiment, "--seed", "0", tiny=ONE)


def repeated(experiment: str) -> Job:
    """Return the job of its other two seeds."""
    return reproduced(experiment, "--seed", "1", "2", tiny=ONE, name=f"{experiment}-repeated")


JOBS = (
    Job("self-test", "verify", ("--self-test", "--json"), tiny=("--times", "2"), minutes=8),
    reproduced("alexnet_lr_decay", "--seed", "0", tiny=SMALL),
    alexnet("alexnet_small_init"),
    alexnet("alexnet_glorot_init"),
    alexnet("alexnet_batch_norm"),
    alexnet("alexnet_batch_norm_default_init"),
    alexnet("alexnet_default_init"),
    alexnet("alexnet_grouped"),
    reproduced("constant_init", tiny=("--arm", "plain_log", "width_one", *BRIEF)),
    Job(
        "constant_init-nondeterministic",
        "reproduce",
        ("constant_init", "--json", "--arm", "plain_log", "as_documented"),
        full=("--allow-nondeterministic", *FULL),
        tiny=("--allow-nondeterministic", *MINI, *BRIEF),
        apart="nondeterministic",
    ),
    reproduced(
        "init_std_sweep",
        tiny=("--seed", "0", "--arm", "std_0.03", "std_0.1", *BRIEF),
        jax=("--together",),
    ),
    Job("benchmark", "benchmark", ("--json",), tiny=ROUND, minutes=8),
    Job(
        "benchmark-full",
        "benchmark",
        ("--json",),
        full=("--networks", "alexnet"),
        tiny=("--networks", "alexnet-mini", *ROUND[2:]),
        minutes=8,
    ),
    repeated("alexnet_glorot_init"),
    repeated("alexnet_batch_norm"),
    repeated("alexnet_grouped"),
    Job("report", "report"),
    Job("report-nondeterministic", "report", apart="nondeterministic"),
)
