"""What ``reproduce`` prints before a study and after it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from experiments.harness.reporting import labels, tables
from experiments.harness.reporting.result import Result
from experiments.harness.runtime import cpu
from experiments.harness.spec import Experiment, RunSpec

SCALES = {
    "mini": "a miniature; full, the document's own size, is the default on an accelerator",
    "protocol": "the document's own steps, batches and rates on a narrower network",
    "full": "the document's own size",
}


def study_header(
    experiment: Experiment, specs: Sequence[RunSpec], warnings: Sequence[str] = ()
) -> str:
    """Return the facts of a study before it starts."""
    first = specs[0]
    datasets = {spec.dataset["sha256"]: spec.dataset for spec in specs}.values()
    facts = {
        "document": experiment.document,
        "scale": f"{first.scale} ({SCALES[first.scale]})",
        "dataset": "; ".join(
            f"{dataset['name']}, sha256 {dataset['sha256'][:16]}{labels.stand_in_warning(dataset)}"
            for dataset in datasets
        ),
        "backend": _environment(first),
        "arms": ", ".join(dict.fromkeys(experiment.name_of(spec) for spec in specs)),
        "seeds": ", ".join(str(seed) for seed in dict.fromkeys(spec.seed for spec in specs)),
        "overrides": ", ".join(f"{key}={value}" for key, value in first.overrides.items()),
        "time": f"{cost} for each seed" if (cost := experiment.cost.get(first.scale)) else "",
    }
    lines = [f"\n{experiment.title}\n{experiment.question}\n"]
    lines += [f"{name:9} {fact}" for name, fact in facts.items() if fact]
    bar = "!" * 88
    for warning in warnings:
        lines += ["", bar, warning, bar]
    return "\n".join(lines)


def progress(planned: int, left: int) -> str:
    """Return how many of the planned runs are complete at the time limit."""
    if not left:
        return f"all {planned} runs are complete"
    complete = f"{planned - left} of {planned} runs complete, {left} left"
    return f"time limit reached: {complete}; run again, without --fresh, to resume"


def study_summary(result: Result) -> str:
    """Return a study's tables and verdicts, and the paths of its picture and runs."""
    experiment, logdir, summary = result.experiment, result.logdir, result.summary()
    reported = tables.reported(summary)
    return "\n".join(
        [
            *(["\nDocumented beside measured:\n", reported] if reported else ()),
            "\nClaims and verdicts:\n",
            str(result),
            *(["\nThe document's framework:"] if experiment.framework else ()),
            *(f"  - {line}" for line in experiment.framework),
            *(["\nDeviations from the document:"] if experiment.deviations else ()),
            *(f"  D{n}. {deviation}" for n, deviation in enumerate(experiment.deviations, 1)),
            f"\npicture      {result.picture}",
            f"TensorBoard  {shlex.join(['tensorboard', '--logdir', str(logdir)])}",
            "\nRuns and their fingerprints; each directory has a history.csv:\n",
            tables.runs(result.runs, logdir),
        ]
    )


def _environment(spec: RunSpec) -> str:
    """Return the backend, its version, device and threads."""
    environment = spec.environment
    backend = environment["backend"]
    if cpu.is_portable(environment):
        return f"{backend} {environment['versions'][backend]}, profile {environment['cpu']}"
    deterministic = environment.get("deterministic", True)
    return (
        f"{backend} {environment['versions'][backend]} on {environment['device']}, "
        f"{environment['threads']} threads, "
        f"{'deterministic' if deterministic else 'NOT deterministic'}"
    )
