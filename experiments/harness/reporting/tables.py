"""Verdicts, documented values beside measured ones, runs and checks, as tables of text."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

from tabulate import tabulate

from experiments.harness.reporting import labels
from experiments.harness.runtime import cpu
from experiments.harness.spec import Run, Scale, batching
from experiments.harness.spec.claim import FAILED, HYPOTHESIS, OUTCOMES
from experiments.harness.spec.judge import MISSING_NOTE
from experiments.harness.storage import run_directory

DOCUMENTED, HYPOTHESES = "the document's claims", "this project's hypotheses"
LISTED = 3  # values, at most, that are listed one by one


def verdicts(claims: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return a row per claim, first the document's, then this project's hypotheses.

    ``style`` is one of tabulate's.
    """
    tables = []
    for title, numbered in by_origin(claims).items():
        columns = ("document",) if title == DOCUMENTED else ()
        rows = [
            (
                f"C{number}",
                claim["claim"],
                *(claim["documented"] for _ in columns),
                bounds(claim["bounds"]),
                measured(claim),
                f"{claim['verdict']} ({claim['note']})" if claim["note"] else claim["verdict"],
            )
            for number, claim in numbered.items()
        ]
        headers = ("", title, *columns, "bounds", "measured", "verdict")
        widths = [None, 44, *(None for _ in columns), None, 20, 24] if style == "simple" else None
        tables.append(tabulate(rows, headers, style, maxcolwidths=widths, disable_numparse=True))
    return "\n\n".join(tables)


def by_origin(claims: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Return the claims by number, those of the document and those of this project apart."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {DOCUMENTED: {}, HYPOTHESES: {}}
    for number, claim in enumerate(claims, 1):
        own = claim["documented"] == HYPOTHESIS
        found[HYPOTHESES if own else DOCUMENTED][number] = claim
    return {title: numbered for title, numbered in found.items() if numbered}


def measured(claim: Mapping[str, Any]) -> str:
    """Return a claim's values over its seeds and, if it does not hold, what they show instead."""
    values = spread([float(value) for value in claim["values"].values()])
    return f"{values}: {claim['instead']}" if claim["instead"] else values


def bounds(ends: Sequence[Any]) -> str:
    """Return an interval as text."""
    return "{:g} to {:g}".format(*map(float, ends))


def overview(results: Sequence[Mapping[str, Any]], style: str = "simple", link: str = "") -> str:
    """Return one row per result: the verdicts, and the claims that do not hold.

    With ``link``, the names link to their headings in that Markdown page.
    """
    rows = []
    for result in results:
        name = result["experiment"]
        found = by_origin(result["claims"])
        rows.append(
            (
                f"[{name}]({link}#{labels.record_name(result)})" if link else name,
                labels.scale_in_table(result),
                len(result["seeds"]),
                *(_count(found.get(title, {})) for title in (DOCUMENTED, HYPOTHESES)),
            )
        )
    return tabulate(rows, ("experiment", "scale", "seeds", DOCUMENTED, HYPOTHESES), style)


def _count(numbered: Mapping[int, Mapping[str, Any]]) -> str:
    """Return how many claims have each verdict, with the numbers of those that do not hold."""
    texts = []
    for outcome in OUTCOMES:
        numbers = [f"C{n}" for n, claim in numbered.items() if claim["verdict"] == outcome]
        which = f" ({', '.join(numbers)})" if outcome in FAILED else ""
        texts += [f"{len(numbers)} {outcome}{which}"] if numbers else []
    return ", ".join(texts) or "-"


def by_scale(results: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return one row per claim: the document's value, and what each scale measured.

    A result on stand-in data is left out if there is one on the document's own.
    """
    own = {
        (result["experiment"], result["scale"])
        for result in results
        if not labels.recorded_stand_ins(result)
    }
    present = {result["scale"] for result in results}
    scales = [scale for scale in reversed(get_args(Scale)) if scale in present]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        if labels.recorded_stand_ins(result) and (result["experiment"], result["scale"]) in own:
            continue
        for number, claim in enumerate(result["claims"], 1):
            row = rows.setdefault((f"{result['experiment']} C{number}", claim["claim"]), {})
            row["document"] = claim["documented"]
            values = spread([float(value) for value in claim["values"].values()])
            notes = [note for note in claim["note"].split(", ") if note != result["scale"]]
            verdict = ", ".join(filter(None, [claim["verdict"], *notes]))
            row[result["scale"]] = (
                "not run" if _lacks_runs(claim, result) else f"{values}: {verdict}"
            )
    columns = ("document", *scales)
    table = [(*key, *(row.get(name, "-") for name in columns)) for key, row in rows.items()]
    return tabulate(table, ("", "claim", *columns), style, disable_numparse=True)


def _lacks_runs(claim: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Return whether no seed of a result has the runs that a claim needs."""
    seeds = len(result["seeds"])
    return f"{MISSING_NOTE} {seeds} of {seeds} seeds" in claim["note"]


def spread(values: Sequence[float]) -> str:
    """Return up to three values as they are, more as their median, lowest and highest.

    Of more than three, those that are not finite are counted apart.
    """
    if len(values) <= LISTED:
        return ", ".join(f"{value:.4g}" for value in values) or "-"
    finite = list(filter(math.isfinite, values))
    parts = []
    if finite:
        middle, low, high = statistics.median(finite), min(finite), max(finite)
        parts = [f"{middle:.4g} ({low:.4g} to {high:.4g}, n={len(finite)})"]
    for name, count in Counter(f"{v}" for v in values if not math.isfinite(v)).items():
        parts.append(f"{name} (n={count})")
    return ", ".join(parts)


def reported(result: Mapping[str, Any], style: str = "simple") -> str:
    """Return the documented values beside the measured ones (``spread``), at the same intervals.

    Intervals that no run reached are left out; the text is empty if none was reached.
    """
    rows: dict[tuple[str, int], dict[str, str]] = {}
    for point in result["printed"]:
        measured = [float(value) for value in point["measured"]]
        if measured:
            row = rows.setdefault((point["arm"], point["interval"]), {})
            row[f"{point['column']}: document"] = f"{float(point['documented']):.5g}"
            row[f"{point['column']}: measured"] = spread(measured)
    if not rows:
        return ""
    headers = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [(*key, *(row.get(name, "") for name in headers)) for key, row in rows.items()]
    return tabulate(table, ("arm", "interval", *headers), style, disable_numparse=True)


def self_test(rows: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return one row per backend, device and short run, with a step's time.

    The time is given with and without determinism.
    """
    lines = [
        (
            _version(row["environment"]),
            row["environment"]["device"],
            row["run"],
            row["repeated"],
            len(row["fingerprints"]),
            row["verdict"],
            row["repository"],
            f"{row['milliseconds']:.1f}",
            f"{row['without']:.1f}",
            f"{row['milliseconds'] / row['without']:.2f}",
        )
        for row in rows
    ]
    names = ("backend", "device", "run", "trainings", "fingerprints", "verdict", "repository")
    times = ("ms a step", "without", "ratio")
    return tabulate(lines, (*names, *times), style, disable_numparse=True)


def portability(result: Mapping[str, Any], style: str = "simple") -> str:
    """Return a row for each arm and profile: where its bits are those of the machine itself."""
    machines = list(dict.fromkeys(row["machine"] for row in result["table"]))
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in result["table"]:
        profile = "portable" if row["portable"] else "default"
        cells = found.setdefault((row["arm"], profile), {})
        cells[row["machine"]] = f"DIFFERENT: {row['differs']}" if row["differs"] else "same"
    rows = [
        (*key, *(cells.get(machine, "-") for machine in machines)) for key, cells in found.items()
    ]
    return tabulate(rows, ("arm", "profile", *machines), style)


def equal_units(result: Mapping[str, Any], style: str = "simple") -> str:
    """Return one row per run: when units of a hidden layer were first seen to differ, and the end.

    The end is the numbers of distinct units, and the test accuracy, after the run's last step.
    Older rows lack the accuracy after 7,000 steps.
    """
    rows = [
        (
            _version(row["environment"]),
            _operations(row["environment"]),
            f"{row['scale']}, {row['dataset']}",
            row["seed"],
            row["steps"],
            "never" if row["unequal_from"] is None else f"by step {row['unequal_from']}",
            ", ".join(f"{name} {count}" for name, count in row["distinct"].items()),
            _at_7000(row),
            f"{row['test_accuracy']:.3f}",
        )
        for row in result["rows"]
    ]
    names = ("scale", "seed", "steps", "units first differ", "distinct units")
    accuracies = ("test accuracy after 7,000 steps", "in the end")
    headers = ("backend", "operations", *names, *accuracies)
    return tabulate(rows, headers, style, disable_numparse=True)


def _at_7000(row: Mapping[str, Any]) -> str:
    """Return a run's test accuracy after 7,000 steps, if it got there and the record has it."""
    accuracy = row.get("test_accuracy_at_7000")
    return "-" if accuracy is None else f"{accuracy:.3f}"


def _operations(environment: Mapping[str, Any]) -> str:
    """Return how a run's operations were made to repeat, in a word."""
    if cpu.is_portable(environment):
        return "portable"
    kind = "nondeterministic" if environment.get("deterministic") is False else "deterministic"
    return f"{kind}, batched" if batching.FIELD in environment else kind


def campaigns(results: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return how often each fault was injected and what it harmed, one column per backend."""
    tables = [campaign["table"] for campaign in results]
    counts = [{row["fault"]: row["count"] for row in table} for table in tables]
    faults = dict.fromkeys(fault for count in counts for fault in count)
    harms = ("intervals lost", "wrong fingerprints", "unclear endings")
    lines = [(fault, *(count.get(fault, 0) for count in counts)) for fault in faults]
    lines += [(harm, *(sum(row[harm] for row in table) for table in tables)) for harm in harms]
    backends = (_version(campaign["environment"]) for campaign in results)
    return tabulate(lines, ("", *backends), style)


def training_time(result: Mapping[str, Any]) -> str:
    """Return the wall time and the CPU time of all runs of a result, as text.

    Arms of other experiments are counted in each record that has them.
    """
    shared = [
        run["seconds"]
        for run in result["runs"]
        if run["home"].partition(":")[0] != result["experiment"]
    ]
    total = _duration(sum(run["seconds"] for run in result["runs"]))
    others = f", of which {_duration(sum(shared))} for other experiments' arms" * bool(shared)
    cpu_time = _cpu_time(result["runs"], result["environment"]["threads"])
    return f"{total} wall time{others}; CPU time {cpu_time}"


def _cpu_time(runs: Sequence[Mapping[str, Any]], threads: int) -> str:
    """Return the CPU time of runs as text; of older ones, what their threads allow at most."""
    seconds = sum(run.get("cpu_seconds", threads * run["seconds"]) for run in runs)
    all_measured = all("cpu_seconds" in run for run in runs)
    return _duration(seconds) if all_measured else f"at most {_duration(seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def recorded_runs(result: Mapping[str, Any], style: str = "simple") -> str:
    """Return one row per run of a result: its progress, times, resumptions, NaN and fingerprint.

    ``began`` has the times of all runs with the fingerprint. ``resumed`` counts kills and planned
    stops after which the run went on; older records lack it.
    """
    rows = [
        (
            run["arm"],
            run["seed"],
            run["intervals"]
            if run["status"] == "complete"
            else f"{run['intervals']}, {run['status']}",
            _began(run),
            _duration(run["seconds"]),
            _cpu_time([run], result["environment"]["threads"]),
            run.get("resumed", "not counted"),
            _nan_cause(run).replace("|", r"\|" if style == "github" else "|"),
            (run["fingerprint"] or "-")[:16],
        )
        for run in result["runs"]
    ]
    headers = ("arm", "seed", "intervals", "began (UTC)", "wall time", "CPU time", "resumed")
    further = ("cause of its NaN", "fingerprint")
    return tabulate(rows, (*headers, *further), style, disable_numparse=True)


def _began(run: Mapping[str, Any]) -> str:
    times = sorted([run["started"], *run.get("also_started", ())])
    return ", ".join(time[:16].replace("T", " ") for time in times)


def _nan_cause(run: Mapping[str, Any]) -> str:
    """Return the step, the tensor and the reason that ``replay --keep`` saved, as a line.

    What it saved is labelled paragraphs, whose further lines are indented.
    """
    step, *paragraphs = re.split(r"\n+(?=\S)", run.get("nan_cause", "").strip())
    if step:
        texts = dict(" ".join(paragraph.split()).partition(" ")[::2] for paragraph in paragraphs)
        kept = ("first", "why", "compiled", "before")
        return "; ".join([step, *(texts[name] for name in kept if name in texts)])
    losses = (run["history"].get(name, ()) for name in ("loss", "test_loss"))
    finite = all(math.isfinite(float(value)) for values in losses for value in values)
    return "-" if finite else "not replayed"


def progress(result: Mapping[str, Any]) -> str:
    """Return the runs that are not complete, and the claims that no seed has the runs for.

    Empty if nothing is missing. An arm may also lack runs of seeds that others have.
    """
    runs = {(run["arm"], run["seed"]): run for run in result["runs"]}
    arms = dict.fromkeys(arm for arm, _ in runs)
    lines = [
        f"{arm}, seed {seed}: {_reached(run) if run else 'not run'}"
        for arm, seed in product(arms, result["seeds"])
        for run in [runs.get((arm, seed))]
        if not run or run["status"] != "complete"
    ]
    numbers = [f"C{n}" for n, claim in enumerate(result["claims"], 1) if _lacks_runs(claim, result)]
    return "; ".join([*lines, *[f"no runs for {', '.join(numbers)}"] * bool(numbers)])


def _reached(run: Mapping[str, Any]) -> str:
    return f"{run['intervals']} of {run['identity']['intervals']} intervals"


def runs(trained: Sequence[Run], logdir: Path, style: str = "simple") -> str:
    """Return one row per run: its progress, time, directory and fingerprint."""
    rows = [
        (
            f"{run.status}, {run.intervals} of {run.spec.arm.intervals} intervals",
            f"{run.seconds:.0f} s",
            run_directory.directory_of(run.spec, logdir),
            (run.fingerprint or "-")[:16],
        )
        for run in trained
    ]
    return tabulate(rows, ("status", "trained", "directory", "fingerprint"), style)


def _version(environment: Mapping[str, Any]) -> str:
    backend = environment["backend"]
    return f"{backend} {environment['versions'][backend]}"
