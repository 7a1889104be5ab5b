"""The results of a search: its table, the best trial's values, a picture, and a short summary."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from experiments.harness.runtime import filesystem
from experiments.harness.storage import run_directory
from experiments.tuning import plots
from experiments.tuning.objectives import OBJECTIVES
from experiments.tuning.oracles import TUNER_PREFIX
from experiments.tuning.search import Search, Trials
from experiments.tuning.trial import EARLY_SHARE, scores

TABLE, BEST, PICTURE = "trials.csv", "best.json", "search.png"


def rows(search: Search, trials: Trials) -> list[dict[str, Any]]:
    """Return a row for each trial.

    It has the trial's values, the objective at the end and after a tenth of the intervals, the
    step by which it diverged, and the directories and fingerprints of its runs.
    """
    objective = f"validation_{search.trainer.objective}"
    final = _scores(search, trials)
    table = []
    for number, trial in sorted(trials.items()):
        outcome = trial.outcome
        specs = search.trainer.specs(trial.values)
        table.append(
            {
                "trial": number,
                **{d.name: trial.values.get(d.name) for d in search.trainer.space},
                **{name: v for name, v in trial.values.items() if name.startswith(TUNER_PREFIX)},
                objective: outcome.after(1.0),
                f"{objective}_after_a_tenth": outcome.after(EARLY_SHARE),
                "diverged_by_step": _join(outcome.diverged),
                "score": final[number],
                "runs": _join([run_directory.directory_of(spec, Path()) for spec in specs]),
                "fingerprints": _join(outcome.fingerprints),
            }
        )
    return table


def write(search: Search, trials: Trials, directory: Path) -> dict[str, Path]:
    """Write the table, the best trial's values and the picture; return the paths.

    Without a trial there is no picture, and without one that did not diverge no best one.
    """
    paths = {"table": directory / TABLE, "best": directory / BEST, "picture": directory / PICTURE}
    filesystem.write_atomic(paths["table"], _to_csv(rows(search, trials)))
    if best := ranking(search, trials)[:1]:
        overrides = search.trainer.overrides(trials[best[0]].values)
        del overrides["held_out"]  # set only for the validation split
        filesystem.write_atomic(paths["best"], json.dumps(overrides, indent=1) + "\n")
    else:
        paths.pop("best").unlink(missing_ok=True)
    if trials:
        plots.draw(search, trials, paths["picture"])
    else:
        paths.pop("picture").unlink(missing_ok=True)
    return paths


def ranking(search: Search, trials: Trials) -> list[int]:
    """Return the numbers of the trials that did not diverge, the best one first."""
    sign, final = OBJECTIVES[search.trainer.objective].sign, _scores(search, trials)
    finite = [number for number, trial in trials.items() if not trial.diverged]
    return sorted(finite, key=lambda number: (sign * final[number], number))


def _scores(search: Search, trials: Trials) -> dict[int, float]:
    outcomes = {number: trial.outcome for number, trial in trials.items()}
    return scores(outcomes, search.trainer.objective)


def summary(search: Search, trials: Trials) -> str:
    """Return the five best trials as a table, and the share of trials that diverged."""
    best = ranking(search, trials)[:5]
    diverged = sum(trial.diverged for trial in trials.values())
    share = f"{diverged} of {len(trials)} trials diverged ({diverged / max(1, len(trials)):.0%})"
    if not best:
        return f"{share}; there is no best trial"
    header = ["trial", *(d.short for d in search.trainer.space)]
    header += [f"validation {search.trainer.objective}", "after a tenth"]
    body = [
        [
            number,
            *(trials[number].values.get(d.name) for d in search.trainer.space),
            trials[number].outcome.score,
            trials[number].outcome.after(EARLY_SHARE),
        ]
        for number in best
    ]
    return f"{tabulate(body, header, floatfmt='.4g', missingval='-')}\n\n{share}"


def _to_csv(table: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in table for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _join(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in values if value is not None)
