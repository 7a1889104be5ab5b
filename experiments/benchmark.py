"""Time this harness and other ways to train, in turns, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments import catalog
from experiments.harness.runtime import cli, signals
from experiments.harness.spec import Arm, Scale
from experiments.harness.spec.overrides import override, resolve

if TYPE_CHECKING:
    from experiments.benchmarks.competitors import Competitor


@dataclass(frozen=True)
class Network:
    """The arm ``arm_id`` (``experiment:arm``) of the catalogue at ``scale``, with overrides."""

    arm_id: str
    scale: Scale
    overrides: Mapping[str, object] = field(default_factory=dict)


# The loops written by hand multiply no layer's input: the initial values are scaled instead.
SCALED = {"network.forward_gain": False, "network.full_size_gain": True}

NETWORKS = {
    "alexnet-mini": Network(
        "alexnet_lr_decay:fixed_rate", "mini", {**SCALED, "batch_size": 40, "steps": 45}
    ),
    "mnist-cnn": Network("constant_init:plain_log", "full", {"steps": 40, "test_examples": 1_000}),
    "alexnet": Network("alexnet_lr_decay:fixed_rate", "full"),
}
DATASET = "mnist"  # of all these arms
SLOW = {"steps": 1, "test_examples": 200, "test_batch": 200}  # overrides for alexnet on a CPU
STARTUP_NETWORK = "alexnet-mini"
STARTUP_REPEATS = 3
INTERVALS = 50  # of every arm; the first one is for warming up


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("benchmark", lambda: answer(args))


def answer(args: argparse.Namespace) -> int:
    """Run the benchmark and print the result."""
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        payload = benchmark(args)
    if args.json:
        print(json.dumps(payload, indent=1))
    return cli.DONE


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 a process failed, 2 bad use or bad input, 130 interrupted.",
        parents=cli.shared_flags("data", "json"),
    )
    add = command.add_argument
    # fmt: off
    add("--networks", nargs="+", default=("alexnet-mini", "mnist-cnn"), choices=NETWORKS,
        metavar="NAME", help=f"any of {', '.join(NETWORKS)}; default: the first two")
    add("--full", action="store_true", help="alexnet too: document 002's network at full size; on "
        "a CPU one step per round and one process at a time, which takes an hour and 9 GB")
    add("--ways", nargs="+", default=[], metavar="NAME", help="any of harness, portable (the "
        "harness with its portable profile), fit (a bare model.fit), documents (a TensorFlow 1 "
        "graph), torch, jax (hand-written loops); default: all")
    add("--backends", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
    add("--rounds", type=cli.whole_number(1, INTERVALS), default=10, metavar="N",
        help="timed intervals of each way; default: 10, which includes what the harness does in "
        "every tenth interval")
    # fmt: on
    return command


def benchmark(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the tables, and return the result as JSON types."""
    from experiments.benchmarks import runner
    from experiments.benchmarks.competitors import select_competitors
    from experiments.harness.data import sources
    from experiments.harness.reporting import benchmark_tables

    runner.share_accelerator_memory()
    source = DATASET if args.data is None else args.data
    competitors, left_out = select_competitors(args.ways, args.backends)
    dataset, warning = sources.load_source(DATASET, source)
    for line in [*(f"left out: {line}" for line in left_out), *([warning] if warning else [])]:
        print(line, flush=True)
    payload = runner.measure_machine([*dict.fromkeys(each.backend for each in competitors)])
    network = NETWORKS[STARTUP_NETWORK]
    payload |= runner.measure_startup(
        network.arm_id,
        network.scale,
        resolve_arm(STARTUP_NETWORK),
        competitors[0].backend,
        source,
        min(STARTUP_REPEATS, args.rounds),
    )
    payload |= {"data": dataset.identity(), "left_out": left_out, "networks": {}}
    for name in dict.fromkeys([*args.networks, *["alexnet"] * args.full]):
        slow = name == "alexnet" and payload["device"] == "cpu"
        payload["networks"][name] = time_network(name, competitors, source, args.rounds, slow)
    print(f"\n{benchmark_tables.render(payload)}")
    return payload


def time_network(
    name: str, competitors: Sequence[Competitor], source: str, rounds: int, slow: bool
) -> dict[str, Any]:
    """Time a network; if it is ``slow``, with fewer steps and one process at a time."""
    from experiments.benchmarks import runner

    network, reduced = NETWORKS[name], SLOW if slow else {}
    arm = override(resolve_arm(name), reduced)
    print(
        f"{name}: {arm.steps} steps of {arm.batch_size} images, {arm.test_examples} evaluated",
        flush=True,
    )
    trained = (network.arm_id, network.scale, {**network.overrides, **reduced})
    return {"trained": trained} | runner.benchmark_network(arm, competitors, source, rounds, slow)


def resolve_arm(name: str) -> Arm:
    """Return the arm of one of ``NETWORKS``."""
    network = NETWORKS[name]
    experiment, _, arm = network.arm_id.partition(":")
    return resolve(catalog.load(experiment), arm, network.scale, network.overrides)


if __name__ == "__main__":
    signals.exit_process(main())
