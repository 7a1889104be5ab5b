"""Time this harness beside other ways to train, in turns, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import catalog
from experiments.harness.runtime import cli, signals
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
        metavar="NAME", help=f"of {', '.join(NETWORKS)}; default: the first two")
    add("--full", action="store_true", help="alexnet too: document 002's network at full size; on "
        "a CPU one step a round, and one process at a time: an hour, and 9 GB")
    add("--ways", nargs="+", default=[], metavar="NAME", help="of harness, fit (a bare model.fit), "
        "documents (a TensorFlow 1 graph), torch and jax (hand-written loops); default: all")
    add("--backends", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
    add("--rounds", type=cli.whole_number(1, INTERVALS), default=10, metavar="N",
        help="intervals timed of each; default: 10, so that what the harness does once in ten "
        "intervals is included")
    # fmt: on
    return command


def benchmark(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the tables, and return the result as JSON types."""
    from experiments.benchmarks import competitors, runner
    from experiments.harness.data import sources
    from experiments.harness.reporting import benchmark_tables

    source = args.data or DATASET
    peers, left_out = competitors.chosen(args.ways, args.backends)
    dataset, warning = sources.load_source(DATASET, source)
    for line in [*(f"left out: {line}" for line in left_out), *([warning] if warning else [])]:
        print(line, flush=True)
    payload = runner.measure_machine(list(dict.fromkeys(peer.backend for peer in peers)))
    home, scale, _ = NETWORKS[STARTED]
    repeats = min(STARTS, args.rounds)
    payload |= runner.measure_startup(
        home, scale, trained(STARTED), peers[0].backend, source, repeats
    )
    payload |= {"data": dataset.identity(), "left_out": left_out, "networks": {}}
    for name in dict.fromkeys([*args.networks, *["alexnet"] * args.full]):
        home, scale, overrides = NETWORKS[name]
        slow = name == "alexnet" and payload["device"] == "cpu"
        less = SLOW if slow else {}
        arm = override(trained(name), less)
        work = f"{arm.steps} steps of {arm.batch_size} images, {arm.test_examples} evaluated"
        print(f"{name}: {work}", flush=True)
        timings = runner.benchmark_network(arm, peers, source, args.rounds, slow)
        payload["networks"][name] = {"trained": (home, scale, {**overrides, **less}), **timings}
    print(f"\n{benchmark_tables.render(payload)}")
    return payload


def trained(name: str) -> Arm:
    """Return the arm that one of ``NETWORKS`` is."""
    home, scale, changes = NETWORKS[name]
    experiment, _, arm = home.partition(":")
    return resolve(catalog.load(experiment), arm, scale, changes)


if __name__ == "__main__":
    signals.exit_process(main())
