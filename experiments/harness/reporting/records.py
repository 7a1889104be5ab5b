"""Committed evidence: one JSON and one picture per result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from math import isclose
from operator import attrgetter
from pathlib import Path
from typing import Any

from experiments.harness.reporting import labels, plots
from experiments.harness.reporting.result import Result, summary
from experiments.harness.runtime import filesystem
from experiments.harness.spec import (
    Arm,
    Experiment,
    History,
    Run,
    RunSpec,
    UserError,
    batching,
    identity,
)
from experiments.harness.spec.judge import judge
from experiments.harness.spec.overrides import override
from experiments.harness.storage import provenance

FOLDER = Path("experiments/records")  # in the repository
ACCEPTED_STAND_INS = {"frames"} | labels.RECORDED_STAND_INS  # the document's frames are not public
FROM_CATALOGUE = (
    "title",
    "question",
    "document",
    "printed",
    "framework",
    "deviations",
)  # beside the claims
PLAIN_LIST = re.compile(r"\[\s+([^][{}]*?)\s+\]")  # in JSON; written on one line


def write(result: Result, folder: Path) -> Path:
    """Write a result and its picture into ``folder``; return the JSON's path.

    The record there keeps its other runs, and those that are longer or began later, if its data,
    its environment, its arms and their changes are the same. Raises ``UserError`` for a result that
    is not evidence (``objections``), or that would replace runs that it lacks or has less of.
    """
    experiment = result.experiment
    path = folder / f"{labels.record_name(result.summary())}.json"
    if not unusable(result.runs):
        runs = _with_first_start(_with_recorded(result, path), path, experiment)
        result = replace(result, runs=runs)
    if reasons := objections(result):
        raise UserError(f"{experiment.name}: {'; '.join(reasons)}")
    folder.mkdir(exist_ok=True)
    plots.draw(experiment, result.runs, path.with_suffix(".png"))
    return _save(summary(experiment, result.runs, judge(experiment, result.runs)), folder)


def _save(payload: Mapping[str, Any], folder: Path) -> Path:
    path = folder / f"{labels.record_name(payload)}.json"
    text = json.dumps(payload, indent=1)
    text = PLAIN_LIST.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
    filesystem.write_atomic(path, text + "\n")
    return path


def objections(result: Result) -> list[str]:
    """Return why a result is not evidence, such as runs that are missing or of uncommitted code.

    At ``mini`` every run is needed, and complete; at other scales some take days.
    """
    experiment, runs = result.experiment, result.runs
    scale = runs[0].spec.scale
    seeds = {*experiment.seeds, *(run.spec.seed for run in runs)}
    planned = {(arm, seed) for arm in experiment.at[scale] for seed in seeds}
    complete = {
        (experiment.name_of(run.spec), run.spec.seed) for run in runs if run.status == "complete"
    }
    reasons = {
        "runs are missing": scale == "mini" and not planned <= complete,
        "runs are not complete": scale == "mini" and len(complete) < len(runs),
    }
    return [*(reason for reason, applies in reasons.items() if applies), *unusable(runs)]


def unusable(runs: Sequence[Run]) -> list[str]:
    """Return why runs are no evidence, however many there are."""
    stand_ins = {run.spec.dataset["name"] for run in runs if run.spec.dataset["stand_in"]}
    return [
        *(f"it was run on {name}" for name in sorted(stand_ins - ACCEPTED_STAND_INS)),
        *_with_run("runs are still trained", [run for run in runs if run.status == "running"]),
        *untraceable(runs),
    ]


def untraceable(runs: Sequence[Run]) -> list[str]:
    """Return why the bits of runs cannot be published, such as that of uncommitted code."""
    environments = [run.spec.environment for run in runs]
    mixed = {
        "runs of several environments": len(set(map(_without_batch, environments))) > 1,
        "runs on several datasets": len({run.spec.dataset["sha256"] for run in runs}) > 1,
    }
    defective = {
        "runs without determinism": [
            run for run in runs if run.spec.environment.get("deterministic") is False
        ],
        "runs of uncommitted code": [
            run for run in runs if str(run.commit).endswith(("+", "None"))
        ],
        "the code changed during a run": [run for run in runs if provenance.change(run)],
    }
    return [
        *(reason for reason, applies in mixed.items() if applies),
        *(line for reason, found in defective.items() for line in _with_run(reason, found)),
    ]


def _with_run(reason: str, runs: Sequence[Run]) -> list[str]:
    """Return the reason with the run, or the first of the runs, that it holds for, if any."""
    if not runs:
        return []
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return [f"{reason} ({runs[0].spec.title}{more})"]


def _without_batch(environment: Mapping[str, Any]) -> str:
    """Return an environment as text, the same for all runs that were trained in batches."""
    return str({**environment, batching.FIELD: batching.FIELD in environment})


def load(folder: Path, pattern: str = "*.json") -> list[dict[str, Any]]:
    """Return the records in ``folder``, by file name."""
    records = []
    for path in sorted(folder.glob(pattern), key=lambda path: path.stem):
        try:
            records.append(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}; restore it with git") from None
    return records


def judge_again(folder: Path, load_experiment: Callable[[str], Experiment]) -> list[Path]:
    """Judge the histories of all records by today's catalogue, take over its texts, and draw them.

    Returns the records that changed. Records of arms that the catalogue now defines differently
    are left as they are.
    """
    changed = []
    for record in load(folder):
        experiment = load_experiment(record["experiment"])
        if _defined_differently(record, experiment):
            continue
        runs = runs_of(record, experiment)
        judged = summary(experiment, runs, judge(experiment, runs))
        then_and_now = zip_longest(record["claims"][: len(judged["claims"])], judged["claims"])
        updated = {
            **record,
            **{name: judged[name] for name in FROM_CATALOGUE},
            "claims": [
                then if then and _same_claim(then, now) else now for then, now in then_and_now
            ],
        }
        plots.draw(experiment, runs, folder / f"{labels.record_name(record)}.png")
        if updated != record:
            changed.append(_save(updated, folder))
    return changed


def _with_recorded(result: Result, path: Path) -> Sequence[Run]:
    """Return the runs of a result and of a like record at ``path``.

    Of each the longer one, or of two as long the one that began later. All then have the record's
    environment, which may be too old to have every field.
    """
    if not path.exists():
        return result.runs
    (record,) = load(path.parent, path.name)
    experiment, environment, new = result.experiment, record["environment"], result.summary()
    here = identity.known_to(environment, result.runs[0].spec.environment)
    same_changes = labels.changes(record) == labels.changes(new)
    same = (
        same_changes
        and record["datasets"] == new["datasets"]
        and _without_batch(environment) == _without_batch(here)
        and not _defined_differently(record, experiment)
    )
    if not same:
        known = {
            (experiment.name_of(run.spec), run.spec.seed): run.intervals for run in result.runs
        }
        loses = not same_changes or any(
            known.get((run["arm"], run["seed"]), -1) < run["intervals"] for run in record["runs"]
        )
        if loses and not objections(result):
            raise UserError(
                f"{experiment.name}: {path} has longer runs or other arms, of other data, another "
                "environment or another --set; move it away first"
            )
        return result.runs
    recorded = runs_of(record, experiment)
    own = [replace(run, spec=replace(run.spec, environment=environment)) for run in result.runs]
    by_length = sorted([*recorded, *own], key=lambda run: (run.intervals, run.started))
    longest = {(run.spec.seed, run.spec.arm_id): run for run in by_length}
    order = list(experiment.arm_ids.values())
    keys = sorted(longest, key=lambda key: (key[0], order.index(key[1])))
    return [_with_repeats(longest[key], by_length) for key in keys]


def _with_repeats(run: Run, runs: Sequence[Run]) -> Run:
    """Return a run with what runs of its fingerprint know: when they began, why it is NaN."""
    if not run.intervals:
        return run
    key = attrgetter("spec.arm_id", "spec.seed", "fingerprint")
    repeats = [other for other in runs if key(other) == key(run)]
    starts = {time for other in repeats for time in (other.started, *other.also_started)}
    causes = (other.nan_cause for other in reversed(repeats))  # the run itself is the last
    return replace(
        run,
        also_started=tuple(sorted(starts - {run.started})),
        nan_cause=next(filter(None, causes), ""),
    )


def _with_first_start(runs: Sequence[Run], path: Path, experiment: Experiment) -> list[Run]:
    """Return runs that say since when the record at ``path`` knows runs like them, if it does.

    A run is like another if it trains the same arm from the same seed, on whatever processor.
    """
    known = {}
    for record in load(path.parent, path.name):
        for row in record["runs"]:
            key = (row["arm"], row["seed"], _training(row["identity"]))
            known[key] = row.get("first_started") or row["started"]
    since = [
        known.get((experiment.name_of(run.spec), run.spec.seed, _training(run.spec.arm.identity())))
        for run in runs
    ]
    return [
        replace(run, first_started=time) if time and time < run.known_since else run
        for run, time in zip(runs, since, strict=True)
    ]


def _training(arm: Mapping[str, Any]) -> str:
    """Return a digest of an arm's identity, without what is measured only."""
    measured = ("metrics", "probes")
    return identity.json_digest({k: v for k, v in arm.items() if k not in measured})


def drift(folder: Path, load_experiment: Callable[[str], Experiment]) -> list[str]:
    """Return one line for each point on which the records and the catalogue disagree."""
    lines = []
    for record in load(folder):
        name = labels.record_name(record)
        experiment = load_experiment(record["experiment"])
        lines += [f"{name}: {line}" for line in _record_drift(record, experiment)]
        if not (folder / f"{name}.png").exists():
            lines.append(f"{name}: its picture is missing")
    return lines


def _record_drift(record: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Return how a record differs from the catalogue's judgement of the same histories."""
    if arm := _defined_differently(record, experiment):
        return [f"the catalogue now defines its arm {arm} differently"]
    runs = runs_of(record, experiment)
    judged = summary(experiment, runs, judge(experiment, runs))
    claims = judged["claims"]
    if len(claims) != len(record["claims"]):
        return [f"the catalogue has {len(claims)} claims, the record {len(record['claims'])}"]
    return [
        *(
            f"the catalogue has another {name}"
            for name in FROM_CATALOGUE
            if record[name] != judged[name]
        ),
        *(
            f"C{number} is judged differently now"
            for number, (then, now) in enumerate(zip(record["claims"], claims, strict=True), 1)
            if not _same_claim(then, now)
        ),
    ]


def _defined_differently(record: Mapping[str, Any], experiment: Experiment) -> str:
    """Return the first arm of a record that the catalogue now defines differently, or nothing."""
    arms = experiment.at.get(record["scale"], {})
    for run in record["runs"]:
        try:
            identity = override(arms[run["arm"]], run["changes"]).identity()
        except (KeyError, UserError):
            identity = None
        if run["identity"] != identity:
            return str(run["arm"])
    return ""


def runs_of(record: Mapping[str, Any], experiment: Experiment) -> list[Run]:
    """Return the runs of a record whose arms are those of the catalogue."""
    arms = experiment.at[record["scale"]]
    return [_restore_run(record, run, arms[run["arm"]]) for run in record["runs"]]


def _restore_run(record: Mapping[str, Any], row: Mapping[str, Any], arm: Arm) -> Run:
    """Return a run of a record; of its chain a record has the last link only."""
    experiment, _, name = row["home"].partition(":")
    spec = RunSpec(
        experiment=experiment,
        arm_name=name,
        arm=override(arm, row["changes"]),
        seed=row["seed"],
        scale=record["scale"],
        dataset=record["datasets"][0],
        environment=record["environment"],
        overrides=row["changes"],
    )
    columns = {name: [float(value) for value in values] for name, values in row["history"].items()}
    return Run(
        spec,
        status=row["status"],
        started=row["started"],
        resumed=row.get("resumed"),
        first_started=row.get("first_started", ""),
        also_started=tuple(row.get("also_started", ())),
        nan_cause=row.get("nan_cause", ""),
        initial={name: float(value) for name, value in row["initial"].items()},
        history=History.from_columns(columns),
        chain=(*[""] * row["intervals"], row["fingerprint"]),
        seconds=row["seconds"],
        cpu_seconds=row.get("cpu_seconds"),
        commit=row["commit"],
        commit_at_end=row.get("commit_at_end"),
    )


def _same_claim(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether two judgements agree, except for the digits that a record leaves out."""

    def split(claim: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
        numbers = [*claim["bounds"], *claim["values"].values()]
        texts = {name: value for name, value in claim.items() if name not in ("bounds", "values")}
        return texts | {"seeds": [*claim["values"]]}, [float(number) for number in numbers]

    (texts_then, numbers_then), (texts_now, numbers_now) = split(then), split(now)
    close = partial(isclose, rel_tol=1e-3, abs_tol=1e-9)
    return texts_then == texts_now and all(map(close, numbers_then, numbers_now))
