"""Committed evidence: a JSON and a picture a result, and the pages that are generated from them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from math import isclose
from pathlib import Path
from typing import Any

from experiments.harness.reporting import benchmark_tables, html, tables
from experiments.harness.reporting.result import Result, summary
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Arm, Experiment, History, Run, RunSpec, UserError, batching
from experiments.harness.spec.judge import judge

RELIABILITY = "reliability"  # in the records' folder: what campaigns and self-tests told
SPEED = "speed"  # and there too: what benchmarks told


def write(result: Result, folder: Path) -> Path:
    """Write a result and its picture into ``folder``; return the JSON's path.

    Raises ``UserError`` for a result that is no evidence (``objections``).
    """
    if reasons := objections(result):
        raise UserError(f"{result.experiment.name} is no evidence: {'; '.join(reasons)}")
    told = result.summary()
    path = folder / f"{told['experiment']}-{told['scale']}.json"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(result.picture, path.with_suffix(".png"))
    plain = re.compile(r"\[\s+([^][{}]*?)\s+\]")  # a list of plain values: on one line
    text = plain.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(told, indent=1))
    filesystem.write_atomic(path, text + "\n")
    return path


def objections(result: Result) -> list[str]:
    """Return why a result is no evidence: other data, runs missing, mixed or of unknown code.

    At full scale arms may be missing: some take days.
    """
    experiment, runs = result.experiment, result.runs
    arms = experiment.at[runs[0].spec.scale]
    complete = {
        (experiment.name_of(run.spec), run.spec.seed) for run in runs if run.status == "complete"
    }
    wanted = {(arm, seed) for arm in arms for seed in experiment.seeds}
    foreign = {run.spec.dataset["name"] for run in runs if run.spec.dataset["stand_in"]} - {
        "frames"
    }
    return [
        *(f"it was run on {name}" for name in sorted(foreign)),
        *["runs are missing"] * (runs[0].spec.scale == "mini" and not wanted <= complete),
        *["runs are not complete"] * (len(complete) < len(runs)),
        *["runs of several environments"] * (len({_environment(run) for run in runs}) > 1),
        *["runs without determinism"]
        * any(run.spec.environment.get("deterministic") is False for run in runs),
        *["runs of uncommitted code"]
        * any(str(run.commit).endswith(("+", "None")) for run in runs),
    ]


def _environment(run: Run) -> str:
    """Return an environment as text, the same for all runs that were trained together."""
    together = batching.FIELD in run.spec.environment
    return str({**run.spec.environment, batching.FIELD: together})


def load(folder: Path) -> list[dict[str, Any]]:
    """Return every record in ``folder``, by experiment, full before mini."""
    return _read(folder, "*.json")


def _read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    records = []
    for path in sorted(folder.glob(pattern)):
        try:
            records.append(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(f"{path} is no record: {error}") from None
    return records


def pages(root: Path) -> dict[Path, str]:
    """Return what the generated files under ``root`` are to hold, by path."""
    folder = root / "experiments/records"
    records = load(folder)
    names = [f"{record['experiment']}-{record['scale']}.png" for record in records]
    readme = root / "README.md"
    campaigns = _read(folder / RELIABILITY, "campaign-*.json")
    tested = _read(folder / RELIABILITY, "self-test-*.json")
    timed = _read(folder / SPEED, "benchmark-*.json")
    told = {
        "benchmarks": "\n\n".join(benchmark_tables.overview(each, "github") for each in timed),
        "records": tables.overview(records, "github", link="experiments/records/README.md"),
        "campaigns": tables.campaigns(campaigns, "github"),
        "self-tests": tables.self_test([row for each in tested for row in each["rows"]], "github"),
    }
    text = readme.read_text()
    for name, table in told.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table}\n{end}{after}" if found else text
    return {readme: text, folder / "README.md": html.to_markdown(records, names)}


def drift(root: Path, load_experiment: Callable[[str], Experiment]) -> list[str]:
    """Return a line for each way in which records, pages and catalogue do not agree."""
    folder = root / "experiments/records"
    lines = [
        f"{path.relative_to(root)} is not what the records say; report --record writes it again"
        for path, text in pages(root).items()
        if not path.exists() or path.read_text() != text
    ]
    for record in load(folder):
        name = f"{record['experiment']}-{record['scale']}"
        lines += [f"{name}: {line}" for line in _drift(record, load_experiment)]
        if not (folder / f"{name}.png").exists():
            lines.append(f"{name}: its picture is missing")
    return lines


def _drift(record: Mapping[str, Any], load_experiment: Callable[[str], Experiment]) -> list[str]:
    """Return how a record differs from what the catalogue says today of the same histories."""
    experiment = load_experiment(record["experiment"])
    arms = experiment.at[record["scale"]]
    for run in record["runs"]:
        if run["arm"] not in arms or run["identity"] != arms[run["arm"]].identity():
            return [f"the catalogue tells its arm {run['arm']} otherwise"]
    runs = [_run(record, run, arms[run["arm"]]) for run in record["runs"]]
    today = summary(experiment, runs, judge(experiment, runs))["claims"]
    if len(today) != len(record["claims"]):
        return [f"the catalogue has {len(today)} claims, the record {len(record['claims'])}"]
    return [
        f"C{number} is judged otherwise today"
        for number, (then, now) in enumerate(zip(record["claims"], today, strict=True), 1)
        if not _same(then, now)
    ]


def _run(record: Mapping[str, Any], row: Mapping[str, Any], arm: Arm) -> Run:
    """Return a run of a record, with all that measures read of a run."""
    experiment, _, name = row["home"].partition(":")
    spec = RunSpec(
        experiment=experiment,
        arm_name=name,
        arm=arm,
        seed=row["seed"],
        scale=record["scale"],
        dataset=record["datasets"][0],
        environment=record["environment"],
    )
    columns = {name: [float(value) for value in values] for name, values in row["history"].items()}
    return Run(
        spec,
        status=row["status"],
        initial={name: float(value) for name, value in row["initial"].items()},
        history=History.from_columns(columns),
        chain=("",) * (row["intervals"] + 1),
    )


def _same(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether two judgements agree, but for the digits that a record leaves out."""

    def split(claim: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
        numbers = [*claim["bounds"], *claim["values"].values()]
        rest = {name: value for name, value in claim.items() if name not in ("bounds", "values")}
        return rest | {"seeds": [*claim["values"]]}, [float(number) for number in numbers]

    (words, old), (others, new) = split(then), split(now)
    return words == others and all(map(partial(isclose, rel_tol=1e-3, abs_tol=1e-9), old, new))


def refresh(root: Path) -> None:
    """Write the generated files under ``root``."""
    for path, text in pages(root).items():
        filesystem.write_atomic(path, text)
