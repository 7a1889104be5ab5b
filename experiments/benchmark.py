"""Time this harness beside what people would otherwise train with, in turns, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import catalog
from experiments.harness.runtime import cli, signals
from experiments.harness.runtime.cli import print_line
from experiments.harness.spec import Arm, Scale
from experiments.harness.spec.overrides import override, resolve

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
    return cli.run_command("benchmark", lambda: answer(asked))


def answer(asked: argparse.Namespace) -> int:
    """Measure what was asked for, and print it."""
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        told = benchmark(asked)
    if asked.json:
        print(json.dumps(told, indent=1))
    return cli.DONE


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = cli.ArgumentParser(
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
    add("--rounds", type=cli.whole_number(1, INTERVALS), default=10, metavar="N", help="intervals timed "
        "of each; default: 10, among which are all that the harness does once in ten")
    add("--data", default="mnist", metavar="SOURCE", help="as for reproduce")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def benchmark(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure, telling it on the way and in the end as tables; return it as JSON types."""
    from experiments.benchmarks import competitors, runner
    from experiments.harness.data import sources
    from experiments.harness.reporting import benchmark_tables

    peers, left_out = competitors.chosen(asked.ways, asked.backends)
    dataset, warning = sources.load_source(DATASET, asked.data)
    for line in [*(f"left out: {line}" for line in left_out), *([warning] if warning else [])]:
        print_line(line)
    told = runner.measure_machine(list(dict.fromkeys(peer.backend for peer in peers)), print_line)
    home, scale, _ = NETWORKS[STARTED]
    starting, times = trained(STARTED), min(STARTS, asked.rounds)
    told |= runner.measure_startup(
        home, scale, starting, peers[0].backend, asked.data, times, print_line
    )
    told |= {"data": dataset.identity(), "left_out": left_out, "networks": {}}
    for name in dict.fromkeys([*asked.networks, *["alexnet"] * asked.full]):
        home, scale, changes = NETWORKS[name]
        slow = name == "alexnet" and told["device"] == "cpu"
        less = SLOW if slow else {}
        arm = override(trained(name), less)
        print_line(
            f"{name}: {arm.steps} steps of {arm.batch_size} images, {arm.test_examples} evaluated"
        )
        found = runner.benchmark_network(arm, peers, asked.data, asked.rounds, slow, print_line)
        told["networks"][name] = {"trained": (home, scale, {**changes, **less}), **found}
    print_line(f"\n{benchmark_tables.render(told)}")
    return told


def trained(name: str) -> Arm:
    """Return the arm that one of ``NETWORKS`` is."""
    home, scale, changes = NETWORKS[name]
    experiment, _, arm = home.partition(":")
    return resolve(catalog.load(experiment), arm, scale, changes)


if __name__ == "__main__":
    signals.exit_process(main())
