"""Time this harness beside what people would otherwise train with, in turns, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import catalog
from experiments.harness import doors, interrupts
from experiments.harness.doors import tell
from experiments.harness.overrides import override, resolve
from experiments.harness.spec import Arm, Scale

NETWORKS: dict[str, tuple[str, Scale, Mapping[str, int]]] = {  # an arm, its scale, and changes
    "alexnet-mini": ("alexnet_lr_decay:fixed_rate", "mini", {}),
    "mnist-cnn": ("constant_init:plain_log", "full", {"steps": 40, "test_examples": 1_000}),
    "alexnet": ("alexnet_lr_decay:fixed_rate", "full", {}),
}
DATASET = "mnist"  # theirs
SLOW = {"steps": 1, "test_examples": 200, "test_batch": 200}  # on a CPU, where a step takes long
STARTED = "alexnet-mini"
STARTS = 3
INTERVALS = 50  # that every arm has, of which the first is for warming up


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    return doors.answered("benchmark", lambda: answer(asked))


def answer(asked: argparse.Namespace) -> int:
    """Measure what was asked for, and print it."""
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        told = benchmark(asked)
    if asked.json:
        print(json.dumps(told, indent=1))
    return doors.DONE


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = doors.Parser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 a process failed, 2 bad use or bad input, 130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("--networks", nargs="+", default=("alexnet-mini", "mnist-cnn"), choices=NETWORKS,
        metavar="NAME", help=f"of {', '.join(NETWORKS)}; default: the first two")
    add("--full", action="store_true", help="alexnet too: document 002's network at full size; on "
        "a CPU one step a round, and one process at a time: an hour, and 9 GB")
    add("--ways", nargs="+", default=[], metavar="NAME", help="of harness, fit (a bare model.fit), "
        "documents (a TensorFlow 1 graph), torch and jax (loops by hand); default: all")
    add("--backends", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
    add("--rounds", type=doors.whole(1, INTERVALS), default=10, metavar="N", help="intervals timed "
        "of each; default: 10, among which are all that the harness does once in ten")
    add("--data", default="mnist", metavar="SOURCE", help="as for reproduce")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def benchmark(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure, telling it on the way and in the end as tables; return it as JSON types."""
    from experiments.harness import datasets, timings
    from experiments.peers import conduct, ways

    peers, left_out = ways.chosen(asked.ways, asked.backends)
    dataset, warning = datasets.named(DATASET, asked.data)
    for line in [*(f"left out: {line}" for line in left_out), *([warning] if warning else [])]:
        tell(line)
    told = conduct.machine(list(dict.fromkeys(peer.backend for peer in peers)), tell)
    home, scale, _ = NETWORKS[STARTED]
    starting, times = trained(STARTED), min(STARTS, asked.rounds)
    told |= conduct.starts(home, scale, starting, peers[0].backend, asked.data, times, tell)
    told |= {"data": dataset.identity(), "left_out": left_out, "networks": {}}
    for name in dict.fromkeys([*asked.networks, *["alexnet"] * asked.full]):
        home, scale, changes = NETWORKS[name]
        slow = name == "alexnet" and told["device"] == "cpu"
        less = SLOW if slow else {}
        arm = override(trained(name), less)
        tell(f"{name}: {arm.steps} steps of {arm.batch_size} images, {arm.test_examples} evaluated")
        found = conduct.network(arm, peers, asked.data, asked.rounds, slow, tell)
        told["networks"][name] = {"trained": (home, scale, {**changes, **less}), **found}
    tell(f"\n{timings.told(told)}")
    return told


def trained(name: str) -> Arm:
    """Return the arm that one of ``NETWORKS`` is."""
    home, scale, changes = NETWORKS[name]
    experiment, _, arm = home.partition(":")
    return resolve(catalog.load(experiment), arm, scale, changes)


if __name__ == "__main__":
    interrupts.leave(main())
