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
from typing import Any

from experiments import catalog
from experiments.harness.overrides import resolve
from experiments.harness.spec import Experiment, Run, Scale, UserError

DONE, BAD_USE, INTERRUPTED = 0, 2, 130
PICTURES = {True: "curves.png", False: "curves-part.png"}  # of the whole study, or of a part


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if asked.list:
            print(catalog_table())
        elif asked.dry_run:
            print(json.dumps(resolved(asked), indent=1))
        elif asked.json:
            with contextlib.redirect_stdout(sys.stderr):
                told = reproduce(asked)
            print(json.dumps(told, indent=1))
        else:
            reproduce(asked)
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
    add("--list", action="store_true", help="list the experiments and exit")
    add("--scale", choices=("mini", "full"), help="full is the document to the letter, mini fits "
        "a laptop's CPU; default: full where an accelerator is visible, else mini")
    add("--arm", nargs="+", metavar="NAME", help="only these arms")
    add("--seed", nargs="+", type=_seed, default=[0], metavar="N", help="default: 0")
    add("--data", metavar="mnist|digits|FILE", help="MNIST as Keras has it or downloads it (the "
        "default), scikit-learn's digits, or a file laid out as mnist.npz")
    add("--logdir", type=Path, default=Path("logs"), metavar="DIR", help="default: logs")
    add("--intervals", type=_positive, metavar="N", help="stop after the first N; marked partial")
    add("--set", nargs="+", action="extend", default=[], type=_change, metavar="KEY=VALUE",
        help="change the arms, as in optimizer.learning_rate=1e-3; part of a run's identity")
    add("--fresh", action="store_true", help="delete what the run left before and start over")
    add("--dry-run", action="store_true", help="print the arms as JSON and train nothing")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def reproduce(asked: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked, telling it on stdout; return the result as JSON types."""
    experiment, arms = chosen(asked)  # before the slow imports: --list and bad use answer at once
    from experiments.harness import data, determinism, judge, plots, result, study

    environment = determinism.start()
    dataset, warning = data.load(
        experiment.arms[arms[0]].dataset if asked.data is None else asked.data
    )
    planned = study.plan(
        experiment,
        asked.scale or default_scale(),
        arms=arms,
        seeds=dict.fromkeys(asked.seed),
        changes=dict(asked.set),
        dataset=dataset.identity(),
        environment=environment,
    )
    print(announcement(experiment, planned, warning), flush=True)
    runs = []
    for number, run in enumerate(planned, 1):
        print(f"\n[{number}/{len(planned)}] {run.arm_name}, seed {run.seed}: {run.arm.about}")
        made = study.carry_out(
            run,
            asked.logdir,
            dataset,
            intervals=asked.intervals,
            fresh=asked.fresh,
            verbose=1 if sys.stdout.isatty() else 2,
        )
        runs.append(made)
    whole = not (asked.arm or asked.set or asked.intervals)
    picture = asked.logdir / experiment.name / runs[0].scale / PICTURES[whole]
    plots.curves(experiment, runs, picture)
    told = result.summary(experiment, runs, judge.judge(experiment, runs))
    print(conclusion(experiment, runs, told, asked.logdir, picture))
    return told


def chosen(asked: argparse.Namespace) -> tuple[Experiment, list[str]]:
    """Return the experiment and its arms that were asked for, checked before anything slow."""
    if asked.experiment is None:
        raise UserError("name an experiment; --list tells which there are")
    experiment = catalog.load(asked.experiment)
    arms = list(dict.fromkeys(asked.arm or experiment.arms))
    for arm in arms:
        resolve(experiment, arm, "mini", dict(asked.set))
    return experiment, arms


def default_scale() -> Scale:
    """Return ``full`` where an accelerator is visible, else ``mini``; starts the backend."""
    from experiments.harness import determinism

    return "mini" if determinism.start()["device"] == "cpu" else "full"


def catalog_table() -> str:
    """Return a table of all experiments."""
    found = [catalog.load(name) for name in catalog.names()]
    from tabulate import tabulate

    rows = [(experiment.name, experiment.question, experiment.document) for experiment in found]
    return tabulate(rows, ("name", "question", "document"), maxcolwidths=[None, 50, 40])


def resolved(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the arms as they would be trained, as JSON types."""
    experiment, arms = chosen(asked)
    scale = asked.scale or default_scale()
    changes = dict(asked.set)
    return {
        "experiment": experiment.name,
        "scale": scale,
        "seeds": asked.seed,
        "arms": {arm: resolve(experiment, arm, scale, changes).identity() for arm in arms},
    }


def announcement(experiment: Experiment, planned: Sequence[Run], warning: str | None) -> str:
    """Return what is about to be done."""
    run = planned[0]
    environment, dataset = run.environment, run.dataset
    scales = {
        "mini": "a miniature; full, the document to the letter, where an accelerator is visible",
        "full": "the document to the letter",
    }
    mark = ": A STAND-IN, not the document's data" if dataset["stand_in"] else ""
    facts = {
        "document": experiment.document,
        "scale": f"{run.scale} ({scales[run.scale]})",
        "dataset": f"{dataset['name']}, sha256 {dataset['sha256'][:16]}{mark}",
        "backend": f"{environment['backend']} {environment['versions'][environment['backend']]} "
        f"on {environment['device']}, {environment['threads']} threads, deterministic",
        "arms": ", ".join(dict.fromkeys(run.arm_name for run in planned)),
        "seeds": ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in planned)),
        "changed": ", ".join(f"{key}={value}" for key, value in run.changes.items()),
        "takes": f"{experiment.cost[run.scale]} a seed",
    }
    lines = [f"{experiment.title}\n{experiment.question}\n"]
    lines += [f"{name:9} {fact}" for name, fact in facts.items() if fact]
    if warning:
        bar = "!" * 88
        lines += ["", bar, warning, "Training on scikit-learn's 1,797 digits instead.", bar]
    return "\n".join(lines)


def conclusion(
    experiment: Experiment,
    runs: Sequence[Run],
    told: Mapping[str, Any],
    logdir: Path,
    picture: Path,
) -> str:
    """Return what came out: documented beside measured, the verdicts, and where everything is."""
    from experiments.harness import tables

    return "\n".join(
        [
            "\nDocumented beside measured:\n",
            tables.curves(experiment, runs),
            "\nClaims and verdicts:\n",
            tables.verdicts(told["claims"]),
            "\nDeviations from the document:",
            *(f"  D{n}. {deviation}" for n, deviation in enumerate(experiment.deviations, 1)),
            f"\npicture      {picture}",
            f"TensorBoard  tensorboard --logdir {picture.parent}",
            "\nRuns, each with its history.csv, and their fingerprints:\n",
            tables.runs(runs, logdir),
        ]
    )


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
