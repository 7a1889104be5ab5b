"""What a search comes to: its table, the best trial's values, and five lines for a terminal."""

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
from experiments.tuning.trial import EARLY

TABLE, BEST, PICTURE = "trials.csv", "best.json", "search.png"


def rows(search: Search, trials: Trials) -> list[dict[str, Any]]:
    """Return a row a trial: its values, what it came to after all and after a tenth of its
    intervals, the step it diverged by, and its runs' directories and fingerprints."""
    objective = f"validation_{search.trainer.objective}"
    told = []
    for number, tried in sorted(trials.items()):
        outcome = tried.outcome
        runs = search.trainer.specs(tried.values)
        told.append(
            {
                "trial": number,
                **{d.name: tried.values.get(d.name) for d in search.trainer.space},
                **{name: v for name, v in tried.values.items() if name.startswith(TUNER_PREFIX)},
                objective: outcome.after(1.0),
                f"{objective}_after_a_tenth": outcome.after(EARLY),
                "diverged_by_step": _several(outcome.diverged),
                "score": outcome.score,
                "runs": _several([run_directory.directory_of(run, Path()) for run in runs]),
                "fingerprints": _several(outcome.fingerprints),
            }
        )
    return told


def write(search: Search, trials: Trials, folder: Path) -> dict[str, Path]:
    """Write the table, the best trial's values (none where all diverged), and the picture.

    Return where they are, but for what there is none of.
    """
    table, text = rows(search, trials), io.StringIO()
    names = list(dict.fromkeys(name for row in table for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    made = {"table": folder / TABLE, "best": folder / BEST, "picture": folder / PICTURE}
    filesystem.write_atomic(made["table"], text.getvalue())
    if found := best(search, trials):
        changes = search.trainer.overrides(trials[found[0]].values)
        del changes["held_out"]  # no longer needed: it is for the validation split
        filesystem.write_atomic(made["best"], json.dumps(changes, indent=1) + "\n")
    else:
        made.pop("best").unlink(missing_ok=True)
    if trials:
        plots.draw(search, trials, made["picture"])
    else:
        made.pop("picture").unlink(missing_ok=True)
    return made


def best(search: Search, trials: Trials) -> list[int]:
    """Return the numbers of the trials that did not diverge, the best one first."""
    sign = OBJECTIVES[search.trainer.objective].sign
    sound = [n for n, tried in trials.items() if not tried.diverged]
    return sorted(sound, key=lambda number: (sign * trials[number].outcome.score, number))


def text(search: Search, trials: Trials) -> str:
    """Return the five best trials as a table, and the share of all that diverged."""
    objective, order = search.trainer.objective, best(search, trials)
    lost = sum(tried.diverged for tried in trials.values())
    share = f"{lost} of {len(trials)} trials diverged ({lost / max(1, len(trials)):.0%})"
    if not order:
        return f"{share}: there is no best one"
    header = ["trial", *(d.short for d in search.trainer.space)]
    header += [f"validation {objective}", "after a tenth"]
    body = [
        [
            number,
            *(trials[number].values.get(d.name) for d in search.trainer.space),
            trials[number].outcome.score,
            trials[number].outcome.after(EARLY),
        ]
        for number in order[:5]
    ]
    return f"{tabulate(body, header, floatfmt='.4g', missingval='-')}\n\n{share}"


def _several(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in values if value is not None)
