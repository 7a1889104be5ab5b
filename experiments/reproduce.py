"""Re-run a documented experiment and judge its claims.

A run that was killed or interrupted goes on where it stood, a complete one is shown, not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import catalog
from experiments.harness.overrides import resolve
from experiments.harness.spec import Experiment, Run, Scale, UserError

if TYPE_CHECKING:
    from experiments.harness.result import Result

DONE, BAD_USE, INTERRUPTED = 0, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if asked.list:
            print(catalog_table())
            return DONE
        experiments = chosen(asked)  # before the slow imports: bad use answers at once
        if asked.dry_run:
            told = [resolved(experiment, asked) for experiment in experiments]
        else:
            with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
                told = [reproduce(experiment, asked) for experiment in experiments]
                if asked.all:
                    print(tally(told))
        if asked.json or asked.dry_run:
            print(json.dumps(told if asked.all else told[0], indent=1))
    except (UserError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return BAD_USE
    except KeyboardInterrupt:
        print("\nreproduce: interrupted; run again, without --fresh, to go on", file=sys.stderr)
        return INTERRUPTED
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        epilog="KERAS_BACKEND=tensorflow|jax|torch chooses the backend. Exit codes: 0 done, "
        "2 bad use or bad input, 130 interrupted (run again to go on).",
    )
    add = door.add_argument
    # fmt: off
    add("experiment", nargs="?", help="its name; --list tells which there are")
    add("--all", action="store_true", help="every experiment, one after the other")
    add("--list", action="store_true", help="list the experiments and exit")
    add("--scale", choices=("mini", "full"), help="full is the document to the letter, mini fits "
        "a laptop's CPU; default: full where an accelerator is visible, else mini")
    add("--arm", nargs="+", metavar="NAME", help="only these arms")
    add("--seed", nargs="+", type=_seed, metavar="N", help="default: the experiment's own")
    add("--data", nargs="+", default=[], metavar="SOURCE", help="mnist (the default: as Keras has "
        "it or downloads it), digits (scikit-learn's), a file laid out as mnist.npz; for document "
        "003 frames (the default: drawn faces), or a folder with labels.csv")
    add("--logdir", type=Path, default=Path("logs"), metavar="DIR", help="default: logs")
    add("--intervals", type=_positive, metavar="N", help="stop after the first N; marked partial")
    add("--set", nargs="+", action="extend", default=[], type=_change, metavar="KEY=VALUE",
        help="change the arms, as in optimizer.learning_rate=1e-3; part of a run's identity")
    add("--fresh", action="store_true", help="delete what the run left before and start over")
    add("--dry-run", action="store_true", help="print the arms as JSON and train nothing")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def chosen(asked: argparse.Namespace) -> list[Experiment]:
    """Return the experiments that were asked for, all words checked before anything slow."""
    if bool(asked.experiment) == asked.all:
        raise UserError("name an experiment, or --all; --list tells which there are")
    names = catalog.names() if asked.all else [asked.experiment]
    experiments = [catalog.load(name) for name in names]
    if asked.all and (asked.arm or asked.set):
        raise UserError("--arm and --set are for one experiment, not for --all")
    for experiment in experiments:
        scale: Scale = asked.scale or "full"
        arms = asked.arm or experiment.at[scale]
        used = {resolve(experiment, arm, scale, dict(asked.set)).dataset for arm in arms}
        if asked.data and not asked.all:
            _check_used(asked.data, used)
    return experiments


def _check_used(sources: Sequence[str], used: set[str]) -> None:
    from experiments.harness import datasets

    for source in sources:
        if datasets.kind_of(source) not in used:
            raise UserError(f"these arms train on {' and '.join(sorted(used))}, not on {source}")


def reproduce(experiment: Experiment, asked: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked, telling it on stdout; return the result as JSON types."""
    import experiments

    def begin(runs: Sequence[Run], warnings: Sequence[str]) -> None:
        print(announcement(experiment, runs, warnings), flush=True)

    result = experiments.run(
        experiment.name,
        scale=asked.scale,
        arms=asked.arm,
        seeds=asked.seed,
        data=asked.data,
        logdir=asked.logdir,
        changes=dict(asked.set),
        intervals=asked.intervals,
        fresh=asked.fresh,
        verbose=1 if sys.stdout.isatty() else 2,
        tell=lambda line: print(line, flush=True),
        begin=begin,
    )
    print(conclusion(result))
    return result.summary()


def catalog_table() -> str:
    """Return a table of all experiments."""
    found = [catalog.load(name) for name in catalog.names()]
    from tabulate import tabulate

    rows = [(experiment.name, experiment.question, experiment.document) for experiment in found]
    return tabulate(rows, ("name", "question", "document"), maxcolwidths=[None, 50, 40])


def resolved(experiment: Experiment, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the arms as they would be trained, as JSON types."""
    from experiments.harness import study

    scale = asked.scale or study.default_scale()
    arms = asked.arm or experiment.at[scale]
    changes = dict(asked.set)
    return {
        "experiment": experiment.name,
        "scale": scale,
        "seeds": asked.seed or experiment.seeds,
        "arms": {arm: resolve(experiment, arm, scale, changes).identity() for arm in arms},
        "homes": {arm: experiment.homes[arm] for arm in arms},
    }


def announcement(
    experiment: Experiment, planned: Sequence[Run], warnings: Sequence[str] = ()
) -> str:
    """Return what is about to be done."""
    run = planned[0]
    environment = run.environment
    scales = {
        "mini": "a miniature; full, the document to the letter, where an accelerator is visible",
        "full": "the document to the letter",
    }
    data = {run.dataset["sha256"]: run.dataset for run in planned}.values()
    facts = {
        "document": experiment.document,
        "scale": f"{run.scale} ({scales[run.scale]})",
        "dataset": "; ".join(
            f"{d['name']}, sha256 {d['sha256'][:16]}"
            + ": A STAND-IN, not the document's data" * d["stand_in"]
            for d in data
        ),
        "backend": f"{environment['backend']} {environment['versions'][environment['backend']]} "
        f"on {environment['device']}, {environment['threads']} threads, deterministic",
        "arms": ", ".join(dict.fromkeys(experiment.named(run) for run in planned)),
        "seeds": ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in planned)),
        "changed": ", ".join(f"{key}={value}" for key, value in run.changes.items()),
        "takes": f"{experiment.cost[run.scale]} a seed",
    }
    lines = [f"\n{experiment.title}\n{experiment.question}\n"]
    lines += [f"{name:9} {fact}" for name, fact in facts.items() if fact]
    bar = "!" * 88
    for warning in warnings:
        lines += ["", bar, warning, bar]
    return "\n".join(lines)


def conclusion(result: Result) -> str:
    """Return what came out: documented beside measured, the verdicts, and where everything is."""
    from experiments.harness import tables

    experiment, logdir, told = result.experiment, result.logdir, result.summary()
    printed = ["\nDocumented beside measured:\n", tables.printed(told)]
    return "\n".join(
        [
            *(printed if told["printed"] else ()),
            "\nClaims and verdicts:\n",
            str(result),
            "\nDeviations from the document:",
            *(f"  D{n}. {deviation}" for n, deviation in enumerate(experiment.deviations, 1)),
            f"\npicture      {result.picture}",
            f"TensorBoard  tensorboard --logdir {logdir / experiment.name}",
            "\nRuns, each with its history.csv, and their fingerprints:\n",
            tables.runs(result.runs, logdir),
        ]
    )


def tally(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of how many claims of each experiment came out how."""
    from experiments.harness import tables

    return f"\nAll experiments:\n\n{tables.tally(results)}"


def _change(text: str) -> tuple[str, Any]:
    """Parse ``key=value``; the value as JSON where it is JSON, else as a string."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
