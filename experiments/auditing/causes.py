"""Why a script does not repeat: found by running it again with switches, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.auditing.comparison import Difference, compare
from experiments.auditing.processes import Request, Script, ScriptError
from experiments.auditing.record import Record
from experiments.auditing.switches import SWITCHES, to_try
from experiments.harness.runtime.log import logger
from experiments.harness.spec import identity

TRIALS = 3  # runs with a switch that must be equal
RACING_TRIALS = 5  # if runs without it differ only sometimes, or the script has threads


@dataclass(frozen=True)
class Cause:
    """Switches with which the difference does not come; none if no cause was found by trying.

    ``calls`` are the lines of the script that a switch acted on; ``tried`` are all switches tried.
    """

    switches: Sequence[str] = ()
    calls: Sequence[str] = ()
    tried: Sequence[str] = ()


@dataclass(frozen=True)
class Trial:
    """Runs with switches: their records, and where they differ first, if they do."""

    records: Sequence[Record]
    difference: Difference | None = None
    failed: bool = False

    @property
    def repeats(self) -> bool:
        """Return whether all runs ended, and were equal."""
        return not (self.failed or self.difference)


class Trials:
    """Runs a script with switches, up to an event or to its end; each combination once.

    ``timeout`` seconds are given to each run.
    """

    def __init__(self, script: Script, timeout: float) -> None:
        self.script, self.timeout = script, timeout
        self.results: dict[tuple[frozenset[str], int | None, int], Trial] = {}

    def run(self, switches: Sequence[str], stop_after: int | None, runs: int) -> Trial:
        """Run the script ``runs`` times, or until two runs differ."""
        key = frozenset(switches), stop_after, runs
        if key not in self.results:
            self.results[key] = self._run(tuple(switches), stop_after, runs)
        return self.results[key]

    def _run(self, switches: tuple[str, ...], stop_after: int | None, runs: int) -> Trial:
        request = Request(switches, stop_after, timeout=self.timeout)
        records: list[Record] = []
        for _ in range(runs):
            try:
                records.append(self.script.run(request))
            except ScriptError as error:
                logger.info(f"  cannot try it: {error}")
                return Trial(records, failed=True)
            if found := compare(records[0], records[-1]):
                return Trial(records, found)
        return Trial(records)


def find(
    trials: Trials, found: Difference, racing: bool, with_switches: Sequence[str] = ()
) -> Cause:
    """Return the first switch, or all that are needed, with which the difference does not come.

    ``racing``: whether runs without it may be equal by chance. ``with_switches`` are on throughout.
    """
    runs = RACING_TRIALS if racing else TRIALS
    names = to_try(found.kind, trials.script.backend, [*found.generators], racing)
    names = [name for name in names if name not in with_switches]
    stop_after = found.index + 1
    for number, name in enumerate(names, 1):
        logger.info(f"trying {name}: {SWITCHES[name].cause}?")
        trial = trials.run([*with_switches, name], stop_after, runs)
        if trial.repeats:
            return Cause([name], _calls(trial, [name]), names[:number])
    logger.info("trying all of them together")
    if not trials.run([*with_switches, *names], stop_after, runs).repeats:
        return Cause(tried=names)
    needed = reduce(trials, names, stop_after, runs, with_switches)
    trial = trials.run([*with_switches, *needed], stop_after, runs)
    return Cause(needed, _calls(trial, needed), names)


def reduce(
    trials: Trials,
    switches: Sequence[str],
    stop_after: int | None,
    runs: int,
    with_switches: Sequence[str] = (),
) -> list[str]:
    """Return a smallest set of switches that still repeats: none of them can be left out.

    Halves and quarters are left out before single ones (delta debugging).
    """
    needed, parts = list(switches), 2
    while len(needed) > 1:
        size = -(-len(needed) // parts)
        for start in range(0, len(needed), size):
            rest = needed[:start] + needed[start + size :]
            logger.info(f"trying without {', '.join(needed[start : start + size])}")
            if rest and trials.run([*with_switches, *rest], stop_after, runs).repeats:
                needed, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(needed):
                break
            parts = min(2 * parts, len(needed))
    return needed


def smallest_fix(trials: Trials, first: Cause, repeats: int, racing: bool) -> list[str] | None:
    """Return a smallest set of switches with which whole runs repeat; None if there is none.

    Starts from those of the first difference's cause, and adds those of the next ones.
    """
    switches = list(first.switches)
    while switches:
        logger.info(f"running it to its end with {', '.join(switches)}")
        trial = trials.run(switches, None, repeats)
        if trial.repeats:
            return reduce(trials, switches, None, repeats)
        if trial.difference is None:
            return None
        logger.info(f"then differs: {trial.difference.what}")
        added = find(trials, trial.difference, racing, switches).switches
        if not added:
            return None
        switches += added
    return None


def _calls(trial: Trial, switches: Sequence[str]) -> list[str]:
    """Return the script's lines that switches acted on."""
    calls = [line for r in trial.records for name in switches for line in r.calls.get(name, ())]
    return [*dict.fromkeys(calls)]


def changed_files(a: Record, b: Record) -> list[str]:
    """Return a line for each file that one run read otherwise than the other.

    Not for those that a run had written itself before it read them.
    """
    first, second = a.end.get("files", {}), b.end.get("files", {})
    written = {*a.end.get("written", ()), *b.end.get("written", ())}
    lines = []
    for path in dict.fromkeys([*first, *second]):
        if first.get(path) != second.get(path):
            by_run = ", which a run of the script writes and the next one reads"
            lines.append(f"the file {path} changed{by_run if path in written else ''}")
    return lines


def changed_code(a: Record, b: Record) -> list[str]:
    """Return a line for each file of the script's own code that differs of two runs."""
    first, second = a.end.get("code", {}), b.end.get("code", {})
    paths = dict.fromkeys([*first, *second])
    return [f"the code of {path} differs" for path in paths if first.get(path) != second.get(path)]


def changed_environment(a: Record, b: Record) -> list[str]:
    """Return a line for each difference of the environments of two runs."""
    environments = (r.end.get("environment", {}) for r in (a, b))
    return [f"{path}: {x} and {y}" for path, x, y in identity.differences(*environments)]
