"""A run on disk: its directory, ``run.json`` and ``history.csv``."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np

from experiments.harness.runtime import filesystem
from experiments.harness.runtime.env_vars import DETERMINISTIC
from experiments.harness.spec import Arm, Run, Status, UserError, batching
from experiments.harness.spec.identity import identity_of
from experiments.harness.spec.overrides import MINIMUM
from experiments.harness.storage.provenance import packages

FORMAT = 1
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error),
)
csv.field_size_limit(2**31 - 1)  # a mark for each of an interval's batches is one field
COLUMNS = ("step", "loss", "accuracy", "test_loss", "test_accuracy")  # the first, where there are
TABLES = ("history", "digests")  # a run's fields that are files of their own, not in run.json

ENVIRONMENT: dict[str, Callable[[Any], bool]] = {  # what it takes to bring it about again
    "backend": lambda backend: backend in [*DETERMINISTIC],
    "device": lambda device: isinstance(device, str),
    "threads": lambda threads: type(threads) is int and threads > 0,
    "settings": lambda settings: (
        isinstance(settings, Mapping)
        and all(isinstance(text, str) and "\0" not in text for text in chain(*settings.items()))
    ),
    batching.FIELD: lambda how: how is None or batching.is_batch_mode(how),
}


def save(run: Run, directory: Path) -> None:
    """Write the tables, then ``run.json``, which says how many of their rows count."""
    rows = zip(*run.history.values(), strict=True)
    filesystem.write_atomic(directory / "history.csv", _csv([[*run.history], *rows]))
    names = [*run.digests[-1]] if run.digests else []
    digests = [[k, *(row.get(name, "") for name in names)] for k, row in enumerate(run.digests)]
    filesystem.write_atomic(directory / "digests.csv", _csv([["interval", *names], *digests]))
    if run.arm.result_file:
        name, line = run.arm.result_file
        filesystem.write_atomic(directory / name, _result_file(run, line))
    told = {name: value for name, value in asdict(run).items() if name not in TABLES}
    told |= {"format": FORMAT, "intervals_done": run.intervals, "packages": packages()}
    told["fingerprint"] = run.fingerprint
    filesystem.write_atomic(directory / "run.json", json.dumps(told, indent=1) + "\n")


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()


def _result_file(run: Run, line: str) -> str:
    """Return the document's own result file: a line for each point that has all that it prints.

    Where the training split was not evaluated, the accuracy while training stands in.
    """
    rows: list[dict[str, float]] = [{"step": 0, **run.initial}]
    columns = zip(*run.history.values(), strict=True)
    rows += [dict(zip(run.history, row, strict=True)) for row in columns]
    lines = []
    for row in rows:
        if "accuracy" in row:
            row.setdefault("train_accuracy", row["accuracy"])
        with suppress(KeyError):
            lines.append(line.format(**{name: np.float32(v) for name, v in row.items()}) + "\n")
    return "".join(lines)


class DamagedError(Exception):
    """A record that cannot be read; tells which file, and why."""


def load(directory: Path, tell: Callable[[str], None] = print) -> Run | None:
    """Return the run in ``directory``, to go on with it; None where there is none.

    A damaged record is told, and then as good as none: it is written again from the run's state.
    Where there is no state either, ``UserError``.
    """
    try:
        return _read(directory)
    except DamagedError as error:
        if not any(directory.glob("state/*")):
            raise UserError(f"{error}, and there is no state; --fresh starts over") from None
        tell(f"{error}; it will be written again from the state")
        return None


def read(directory: Path) -> Run:
    """Return the run in ``directory``, to look at it.

    Raises ``UserError`` where there is none, a damaged one, or one whose environment is not told.
    """
    try:
        run = _read(directory)
    except DamagedError as error:
        raise UserError(str(error)) from None
    if run is None:
        raise UserError(f"{directory} holds no run: there is no run.json in it")
    for name, sound in ENVIRONMENT.items():
        if not sound(run.environment.get(name)):
            raise UserError(f"{directory}/run.json does not tell the environment's {name}")
    return run


def _read(directory: Path) -> Run | None:
    path = directory / "run.json"
    try:
        if not path.exists():
            return None
        for each in (path, *(directory / f"{table}.csv" for table in TABLES)):
            if each.exists() and not each.is_file():
                raise ValueError(f"{each.name} is no file")
        told: dict[str, Any] = {"initial": {}} | json.loads(path.read_text())  # older ones lack it
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}, not {FORMAT}")
        _check(told)
        told |= {"arm": arm_from_json(told["arm"]), "chain": tuple(told["chain"])}
        told |= {"digests": _digests(directory / "digests.csv", len(told["chain"]))}
        told |= {"history": _history(directory / "history.csv", len(told["chain"]) - 1)}
        run = Run(**{name: told[name] for name in Run.__dataclass_fields__})
        identity_of(run)
        return run
    except UNREADABLE as error:
        raise DamagedError(f"{path} is damaged ({error})") from None


def _check(told: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for what no run has."""
    links, seed = told["chain"], told["seed"]
    if not isinstance(links, list) or not all(map(_is_link, links)):
        raise ValueError("chain is not a list of SHA-256 hashes")
    if told["intervals_done"] != max(0, len(links) - 1):
        raise ValueError("intervals_done is not the chain's length")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ValueError("seed is no whole number from 0 to 2**32")
    if told["status"] not in get_args(Status):
        raise ValueError("status is unknown")
    for name in ("initial", "changes"):
        if not isinstance(told[name], Mapping):
            raise ValueError(f"{name} is no table of values")


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def arm_from_json(told: Mapping[str, Any]) -> Arm:
    """Return the arm that JSON tells of, its lists as tuples again; ``ValueError`` for no arm."""
    for name, least in MINIMUM.items():
        value = told.get(name, least)  # older ones lack some
        if type(value) is not int or value < least:
            raise ValueError(f"{name} is no whole number from {least} on")
    if not all(isinstance(value, int | float) for value in chain(*told["schedule"])):
        raise ValueError("schedule is no list of pairs of numbers")
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}
    return Arm(**fields | {"schedule": tuple(map(tuple, told["schedule"]))})


def _history(path: Path, intervals: int) -> dict[str, tuple[float, ...]]:
    if not intervals:  # a run that was killed before it could say more may have a row already
        return {}
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    if not {"step", "loss", "test_loss"} <= set(names):
        raise ValueError("history.csv has not the columns step, loss and test_loss")
    if len(rows) < intervals:
        raise ValueError(f"history.csv ends after {len(rows)} of {intervals} intervals")
    columns = zip(*([float(value) for value in row] for row in rows[:intervals]), strict=True)
    return dict(zip(names, columns, strict=True))


def _digests(path: Path, wanted: int) -> tuple[dict[str, str], ...]:
    if not path.exists():  # an older run
        return ({},) * wanted
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)][:wanted]
    if len(rows) < wanted:
        raise ValueError(f"digests.csv ends after {len(rows)} of {wanted} rows")
    kept = [{name: text for name, text in row.items() if text} for row in rows]
    for row in kept:
        del row["interval"]
    return tuple(kept)
