"""What a door says before a study begins, and when it has ended."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.harness.reporting import tables
from experiments.harness.reporting.result import Result
from experiments.harness.spec import Experiment, RunSpec

SCALES = {
    "mini": "a miniature; full, the document to the letter, where an accelerator is visible",
    "full": "the document to the letter",
}


def study_header(
    experiment: Experiment, planned: Sequence[RunSpec], warnings: Sequence[str] = ()
) -> str:
    """Return the facts of a study before it starts."""
    first = planned[0]
    environment = first.environment
    data = {spec.dataset["sha256"]: spec.dataset for spec in planned}.values()
    facts = {
        "document": experiment.document,
        "scale": f"{first.scale} ({SCALES[first.scale]})",
        "dataset": "; ".join(
            f"{d['name']}, sha256 {d['sha256'][:16]}"
            + ": A STAND-IN, not the document's data" * d["stand_in"]
            for d in data
        ),
        "backend": f"{environment['backend']} {environment['versions'][environment['backend']]} "
        f"on {environment['device']}, {environment['threads']} threads, "
        f"{'deterministic' if environment.get('deterministic', True) else 'NOT deterministic'}",
        "arms": ", ".join(dict.fromkeys(experiment.name_of(spec) for spec in planned)),
        "seeds": ", ".join(str(seed) for seed in dict.fromkeys(spec.seed for spec in planned)),
        "changed": ", ".join(f"{key}={value}" for key, value in first.overrides.items()),
        "takes": f"{experiment.cost[first.scale]} a seed",
    }
    lines = [f"\n{experiment.title}\n{experiment.question}\n"]
    lines += [f"{name:9} {fact}" for name, fact in facts.items() if fact]
    bar = "!" * 88
    for warning in warnings:
        lines += ["", bar, warning, bar]
    return "\n".join(lines)


def progress(planned: int, left: int) -> str:
    """Return how many runs are complete at the time limit."""
    if not left:
        return f"all {planned} runs are complete"
    complete = f"{planned - left} of {planned} runs complete, {left} left"
    return f"time limit reached: {complete}; run again, without --fresh, to resume"


def study_summary(result: Result) -> str:
    """Return what came out: documented beside measured, the verdicts, and where everything is."""
    experiment, logdir, told = result.experiment, result.logdir, result.summary()
    printed = ["\nDocumented beside measured:\n", tables.reported(told)]
    return "\n".join(
        [
            *(printed if told["printed"] else ()),
            "\nClaims and verdicts:\n",
            str(result),
            *(["\nThe document's framework:"] if experiment.framework else ()),
            *(f"  - {line}" for line in experiment.framework),
            "\nDeviations from the document:",
            *(f"  D{n}. {deviation}" for n, deviation in enumerate(experiment.deviations, 1)),
            f"\npicture      {result.picture}",
            f"TensorBoard  tensorboard --logdir {logdir}",
            "\nRuns, each with its history.csv, and their fingerprints:\n",
            tables.runs(result.runs, logdir),
        ]
    )
