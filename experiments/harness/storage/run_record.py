"""A run's record: ``run.json``, ``history.csv`` and ``digests.csv``."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np

from experiments.harness.runtime import filesystem
from experiments.harness.runtime.env_vars import DETERMINISTIC
from experiments.harness.runtime.log import logger
from experiments.harness.spec import (
    Arm,
    History,
    Run,
    RunSpec,
    ScriptRun,
    ScriptSpec,
    Status,
    UserError,
    batching,
)
from experiments.harness.spec.identity import identity_of
from experiments.harness.spec.overrides import MINIMUM
from experiments.harness.storage.provenance import packages
from experiments.harness.storage.run_directory import NAN_CAUSE_FILE

FORMAT = 1
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    csv.Error,
)
csv.field_size_limit(2**31 - 1)  # the checksums of an interval's batches are one field
TABLES = ("history", "digests")  # fields of a run that are CSV files of their own
RENAMED = {"overrides": "changes"}  # fields with another name in run.json
OWN_CODE: dict[str, Any] = {"code": {}, "code_folder": None}  # of a user's own arms only

ENVIRONMENT: dict[str, Callable[[Any], bool]] = {  # needed to recreate it, and valid values
    "backend": lambda backend: backend in [*DETERMINISTIC],
    "device": lambda device: isinstance(device, str),
    "threads": lambda threads: type(threads) is int and threads > 0,
    "settings": lambda settings: (
        isinstance(settings, Mapping)
        and all(isinstance(text, str) and "\0" not in text for text in chain(*settings.items()))
    ),
    batching.FIELD: lambda how: how is None or batching.is_batch_mode(how),
}


def save(run: Run | ScriptRun, directory: Path) -> None:
    """Write the tables, then ``run.json``, which says how many of their rows count."""
    rows = [[row.get(name, math.nan) for name in run.history] for row in run.history.rows]
    filesystem.write_atomic(directory / "history.csv", _csv([[*run.history], *rows]))
    names = [*run.digests[-1]] if run.digests else []
    digests = [[k, *(row.get(name, "") for name in names)] for k, row in enumerate(run.digests)]
    filesystem.write_atomic(directory / "digests.csv", _csv([["interval", *names], *digests]))
    if isinstance(run, Run) and run.spec.arm.result_file:
        name, line = run.spec.arm.result_file
        filesystem.write_atomic(directory / name, _result_file(run, line))
    elsewhere = ("spec", "first_started", "also_started", "nan_cause", *TABLES)
    results = {name: value for name, value in vars(run).items() if name not in elsewhere}
    planned = {
        RENAMED.get(name, name): value
        for name, value in asdict(run.spec).items()
        if value or name not in OWN_CODE
    }
    payload = {**planned, **results, "format": FORMAT, "intervals_done": run.intervals}
    payload |= {"packages": packages(), "fingerprint": run.fingerprint}
    filesystem.write_atomic(directory / "run.json", json.dumps(payload, indent=1) + "\n")


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()


def _result_file(run: Run, line: str) -> str:
    """Return the document's own result file: a line for each point that has all of its metrics.

    If the training split was not evaluated, the accuracy during training stands in.
    """
    lines = []
    for row in [{"step": 0, **run.initial}, *map(dict, run.history.rows)]:
        if "accuracy" in row:
            row.setdefault("train_accuracy", row["accuracy"])
        with suppress(KeyError):
            lines.append(line.format(**{name: np.float32(v) for name, v in row.items()}) + "\n")
    return "".join(lines)


class DamagedError(Exception):
    """A record cannot be read; the message names the file and the reason."""


def load(directory: Path) -> Run | None:
    """Return the run of an arm in ``directory``, to continue it; None if there is none.

    Raises ``UserError`` if the directory holds a script's run, and as ``load_any`` does.
    """
    run = load_any(directory)
    if isinstance(run, ScriptRun):
        raise UserError(f"{directory} belongs to another run: {run.spec.script}; name another one")
    return run


def load_any(directory: Path) -> Run | ScriptRun | None:
    """Return the run in ``directory``, to continue it; None if there is none.

    A damaged record is logged and counts as none: it is written again from the run's checkpoint.
    Raises ``UserError`` if there is no checkpoint either.
    """
    try:
        return _read(directory)
    except DamagedError as error:
        if not any(directory.glob("state/*")):
            raise UserError(f"{error}, and there is no checkpoint; --fresh starts over") from None
        logger.warning(f"{error}; it will be rewritten from the checkpoint")
        return None


def read(directory: Path) -> Run:
    """Return the run of an arm in ``directory``, to look at it.

    Raises ``UserError`` if there is none, if it is damaged, if its environment is not recorded, or
    if it is a script's.
    """
    run = read_any(directory)
    if isinstance(run, ScriptRun):
        raise UserError(
            f"{directory} is the run of {run.spec.script}, which only that script can train again; "
            "run it with another directory, then compare: verify DIR --against OTHER"
        )
    return run


def read_any(directory: Path) -> Run | ScriptRun:
    """Return the run in ``directory``, of an arm or of a script, to look at it.

    Raises ``UserError`` if there is none, if it is damaged, or if its environment is not recorded.
    """
    try:
        run = _read(directory)
    except DamagedError as error:
        raise UserError(str(error)) from None
    if run is None:
        raise UserError(f"{directory} holds no run: there is no run.json in it")
    for name, is_valid in ENVIRONMENT.items():
        if not is_valid(run.spec.environment.get(name)):
            raise UserError(f"{directory}/run.json does not record the environment's {name}")
    return run


def _read(directory: Path) -> Run | ScriptRun | None:
    path = directory / "run.json"
    try:
        if not path.exists():
            return None
        for each in (path, *(directory / f"{table}.csv" for table in TABLES)):
            if each.exists() and not each.is_file():
                raise ValueError(f"{each.name} is not a file")
        missing: dict[str, Any] = {
            "initial": {},
            "commit_at_end": None,
            "data_source": None,
            "resumed": None,
            "cpu_seconds": None,
            **OWN_CODE,
        }  # in older records
        payload = missing | json.loads(path.read_text())
        if payload["format"] != FORMAT:
            raise ValueError(f"format {payload['format']}, not {FORMAT}")
        return _from_json(payload, directory)
    except UNREADABLE as error:
        raise DamagedError(f"{path} is damaged ({error})") from None


def _from_json(payload: Mapping[str, Any], directory: Path) -> Run | ScriptRun:
    """Return the run in the JSON object of ``run.json``; raises one of ``UNREADABLE``."""
    is_script = "script" in payload
    _check(payload, is_script)
    links = tuple(payload["chain"])
    columns = ("step",) if is_script else ("step", "loss", "test_loss")
    fields = ("status", "initial", "started", "seconds", "cpu_seconds", "commit", "commit_at_end")
    outcome: dict[str, Any] = {name: payload[name] for name in fields}
    outcome |= {
        "chain": links,
        "digests": _digests(directory / "digests.csv", len(links)),
        "history": _history(directory / "history.csv", len(links) - 1, columns),
    }
    if is_script:
        planned = {name: payload[name] for name in ScriptSpec.__dataclass_fields__}
        return ScriptRun(ScriptSpec(**planned), **outcome, inexact=tuple(payload["inexact"]))
    planned = {name: payload[RENAMED.get(name, name)] for name in RunSpec.__dataclass_fields__}
    spec = RunSpec(**planned | {"arm": arm_from_json(payload["arm"])})
    identity_of(spec)
    return Run(spec, **outcome, resumed=payload["resumed"], nan_cause=_nan_cause(directory))


def _nan_cause(directory: Path) -> str:
    """Return what ``replay --keep`` saved; the run does not depend on it."""
    with suppress(OSError):
        return (directory / NAN_CAUSE_FILE).read_text(encoding="utf-8", errors="replace")
    return ""


def _check(payload: Mapping[str, Any], is_script: bool) -> None:
    """Raise ``ValueError`` for values that no run has."""
    links, seed = payload["chain"], payload["seed"]
    if not isinstance(links, list) or not all(map(_is_link, links)):
        raise ValueError("chain is not a list of SHA-256 hashes")
    if payload["intervals_done"] != max(0, len(links) - 1):
        raise ValueError("intervals_done is not the chain's length")
    unseeded = is_script and seed is None
    if not unseeded and (type(seed) is not int or not 0 <= seed < 2**32):
        raise ValueError("seed is not a whole number from 0 to 2**32 - 1")
    if payload["status"] not in get_args(Status):
        raise ValueError("status is unknown")
    if not isinstance(payload["data_source"], str | None):
        raise ValueError("data_source is not a path")
    if not (payload["resumed"] is None or type(payload["resumed"]) is int):
        raise ValueError("resumed is not a whole number")
    for name in ("seconds", "cpu_seconds"):
        is_unknown = name == "cpu_seconds" and payload[name] is None
        if not (is_unknown or type(payload[name]) in (int, float)):
            raise ValueError(f"{name} is not a time")
    if not isinstance(payload["code_folder"], str | None):
        raise ValueError("code_folder is not a path")
    tables = ("model", "data", "environment") if is_script else ("changes", "code")
    for name in ("initial", *tables):
        if not isinstance(payload[name], Mapping):
            raise ValueError(f"{name} is not a table of values")
    if is_script and type(payload["steps"]) not in (int, type(None)):
        raise ValueError("steps is not a whole number")


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def arm_from_json(payload: Mapping[str, Any]) -> Arm:
    """Return the arm in a JSON object, its lists as tuples again.

    Raises ``ValueError`` or ``TypeError`` for anything but an arm.
    """
    for name, minimum in MINIMUM.items():
        value = payload.get(name, minimum)  # older records lack some
        if type(value) is not int or value < minimum:
            raise ValueError(f"{name} is not a whole number of at least {minimum}")
    if not all(isinstance(value, int | float) for value in chain(*payload["schedule"])):
        raise ValueError("schedule is not a list of pairs of numbers")
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in payload.items()}
    return Arm(**fields | {"schedule": tuple(map(tuple, payload["schedule"]))})


def _history(path: Path, intervals: int, columns: Collection[str]) -> History:
    if intervals < 1:  # a run that was killed early may have a row already
        return History()
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"history.csv lacks the columns {', '.join(missing)}")
    if len(rows) < intervals:
        raise ValueError(f"history.csv ends after {len(rows)} of {intervals} intervals")
    table = [[float(value) for value in row] for row in rows[:intervals]]
    return History(tuple(dict(zip(names, row, strict=True)) for row in table))


def _digests(path: Path, count: int) -> tuple[dict[str, str], ...]:
    if not path.exists():  # an older run
        return ({},) * count
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)][:count]
    if len(rows) < count:
        raise ValueError(f"digests.csv ends after {len(rows)} of {count} rows")
    return tuple(
        {name: text for name, text in row.items() if text and name != "interval"} for row in rows
    )
