"""Run a script in fresh processes, compare the records, and find the cause of a difference."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.auditing import causes, record
from experiments.auditing.causes import Cause, Trials
from experiments.auditing.comparison import Difference, compare
from experiments.auditing.locating import Location, locate
from experiments.auditing.processes import Request, Script, ScriptError, error_output
from experiments.auditing.record import Record
from experiments.auditing.switches import OF_ARITHMETIC
from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError

NOTHING = "trained nothing that is recorded: no fit, train_on_batch or optimiser's step of Keras 3"
AUDIT_FILE = "audit.json"
OF_DATA = ("weights", "order", "content", "control flow")  # what a file may change
NOT_LOOKED_FOR = Cause()


@dataclass(frozen=True)
class Finding:
    """A difference of two runs, where it is, and its cause.

    ``runs`` are the runs' names. ``fix`` is the smallest set of switches with which whole runs
    repeat, empty if none was found, None if not looked for; ``evidence`` are lines about what else
    differed.
    """

    location: Location
    runs: tuple[str, str]
    cause: Cause = NOT_LOOKED_FOR
    evidence: Sequence[str] = ()
    fix: Sequence[str] | None = None


@dataclass(frozen=True)
class Audit:
    """The runs of a script, and what differs of them, if anything does."""

    script: Script
    records: Sequence[Record]
    finding: Finding | None = None


def run_all(script: Script, repeats: int, folder: Path) -> list[Record]:
    """Run the script ``repeats`` times, each in a folder of its own.

    Raises ``ScriptError`` if it fails, ``UserError`` if it trains nothing that is recorded.
    """
    records: list[Record] = []
    for number in range(1, repeats + 1):
        logger.info(f"run {number} of {repeats}: {script.path.name}")
        found = _run(script, folder / f"run{number}", number)
        script.backend = found.backend
        records.append(found)
        if not found.events:
            notes = "".join(f"; {note}" for note in found.end["notes"])
            raise UserError(f"{script.path.name} {NOTHING}{notes}")
        logger.info(
            f"  {found.end['seconds']:.1f} s, {found.end['recording']:.1f} s of them to record: "
            f"{found.epochs()} epochs, {found.steps()} steps"
        )
    return records


def _run(script: Script, folder: Path, number: int) -> Record:
    try:
        return script.run(Request(), folder)
    except ScriptError as error:
        logger.info(f"--- {script.path.name}, what it wrote to stderr:")
        logger.info(error_output(folder))
        raise ScriptError(f"{error} (run {number}; its output is above)") from None


def first_difference(records: Sequence[Record]) -> tuple[Difference, int] | None:
    """Return where any of the records first differs from the first, and that one's number."""
    found = [(d, n) for n, other in enumerate(records[1:], 1) if (d := compare(records[0], other))]
    return min(found, key=lambda each: each[0].index, default=None)


def diagnose(
    audit: Audit, found: Difference, other: int, *, find_cause: bool, find_fix: bool
) -> Audit:
    """Return the audit with its finding: where its runs differ, how far, and why."""
    script, first, second = audit.script, audit.records[0], audit.records[other]
    logger.info(f"they differ: {found.what}; looking for where and why")
    try:
        location = locate(script, found, first)
    except ScriptError as error:
        logger.info(f"cannot say more: {error}")
        location = Location(found)
    names = "run 1", f"run {other + 1}"
    files = causes.changed_files(first, second)
    environment = causes.changed_environment(first, second)
    finding = Finding(location, names, evidence=[*files, *environment])
    of_data = location.difference.kind in OF_DATA
    is_explained = (files and of_data) or (environment and not location.again)
    if find_cause and not is_explained:
        longest = max(record.end["seconds"] for record in audit.records)
        trials = Trials(script, timeout=60 + 5 * longest)
        racing = bool(first.end["threads"]) or not location.again
        cause = causes.find(trials, location.difference, racing)
        finding = replace(finding, cause=cause, location=_renamed(location, cause))
        if find_fix:
            fix = causes.smallest_fix(trials, cause, max(2, len(audit.records)), racing)
            finding = replace(finding, fix=fix or [])
    return replace(audit, finding=finding)


def _renamed(location: Location, cause: Cause) -> Location:
    """Return the location with the kind that the cause shows it to be."""
    found = location.difference
    if found.kind == "masks" and cause.switches and {*cause.switches} <= {*OF_ARITHMETIC}:
        found = replace(found, kind="arithmetic", what="a step's arithmetic")
    return replace(location, difference=found)


def compare_with_earlier(audit: Audit, earlier: Record) -> Audit:
    """Return the audit with what differs of its first run and an earlier audit's."""
    first = audit.records[0]
    found = compare(earlier, first)
    if found is None:
        return audit
    changes = (causes.changed_code, causes.changed_files, causes.changed_environment)
    evidence = [line for change in changes for line in change(earlier, first)]
    names = "the earlier audit", "this one"
    return replace(audit, finding=Finding(Location(found), names, evidence=evidence))


def fingerprint(found: Record) -> str:
    """Return the SHA-256 of all that is compared of a run, in hexadecimal."""
    lines = (json.dumps(event, sort_keys=True) for event in found.essences)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_earlier(folder: Path) -> Record:
    """Return the first run of an audit that was kept in ``folder``; ``UserError`` if none was."""
    if not (folder / AUDIT_FILE).is_file():
        raise UserError(f"{folder} has no audit; make one with --keep {folder}")
    return record.read(folder / "run1")


def prepare(folder: Path, fresh: bool) -> None:
    """Make the folder in which an audit is kept; with ``fresh`` delete an earlier audit in it.

    Also one that was interrupted, of which only runs are there.
    """
    is_audit = (folder / AUDIT_FILE).is_file() or (folder / "run1" / "request.json").is_file()
    if fresh and is_audit:
        for run in folder.glob("run[0-9]*"):
            shutil.rmtree(run)
        (folder / AUDIT_FILE).unlink(missing_ok=True)
    if folder.exists() and any(folder.iterdir()):
        hint = ", or use --fresh" if is_audit else ""
        raise UserError(f"{folder} is not empty; name another directory{hint}")
    folder.mkdir(parents=True, exist_ok=True)


def set_lines(script: Path) -> list[int]:
    """Return the lines of a script on which a set is made: the order of one is not fixed."""
    tree = ast.parse(script.read_text())
    return sorted(
        {
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Set | ast.SetComp)
            or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("set", "frozenset"))
        }
    )
