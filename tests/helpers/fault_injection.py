"""Faults: disturbances of a run's process or files, and their outcomes."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from experiments.harness.storage import checkpoint
from tests.helpers.process_runs import TIMEOUT, Ended, Process, Target, end, start

CODES = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}


@dataclass(frozen=True)
class Fault:
    """One disturbance: its kind, its details, and ``at`` which share of a process or a file."""

    kind: str
    what: tuple[str, ...] = ()
    at: float = 0.0

    def __str__(self) -> str:
        return " ".join([self.kind, *self.what, *[f"at {self.at:.3f}"] * bool(self.at)])


@dataclass(frozen=True)
class Outcome:
    """The outcome of a fault; ``struck`` is false if the process had ended before it."""

    fault: Fault
    struck: bool
    code: int
    interval: int
    lost: int
    wrong: bool
    unclear: str
    seconds: float


def disturb(target: Target, fault: Fault) -> Outcome:
    """Start a process on the target, disturb it, and check what it left."""
    clock = time.perf_counter()
    struck, ended, unclear = KINDS[fault.kind](target, fault)
    finished = ended.code == 0
    return Outcome(
        fault=fault,
        struck=struck,
        code=ended.code,
        interval=target.interval,
        lost=max(0, max(ended.known, target.recorded) - target.interval),
        wrong=not target.is_whole() if finished else target.is_wrong(),
        unclear=unclear or ("" if finished else target.record_error()),
        seconds=time.perf_counter() - clock,
    )


Result = tuple[bool, Ended, str]  # struck, the process, what is unclear about its end


def finish(target: Target, _fault: Fault) -> Result:
    """Run the same command again, to its end."""
    ended = end(start(target.logdir), target.interval)
    return True, ended, "" if ended.code == 0 else f"exit code {ended.code}: {ended.error}"


def kill_any_time(target: Target, fault: Fault) -> Result:
    ended = struck_at(target, fault, subprocess.Popen.kill)
    return expected(ended, ended.code == -signal.SIGKILL)


def kill_in_a_save(target: Target, fault: Fault) -> Result:
    ended = end(start(target.logdir, "kill", *fault.what), max(target.interval, target.recorded))
    return expected(ended, ended.code == -signal.SIGKILL)


def interrupt(target: Target, fault: Fault) -> Result:
    """Send SIGINT or SIGTERM: exit code 130 and a line, or the signal's own during start-up."""
    number = CODES[fault.what[0]]
    ended = struck_at(target, fault, lambda process: process.send_signal(number))
    return expected(ended, interrupted(ended) or (ended.code == -number and not ended.out))


def interrupt_in_a_save(target: Target, fault: Fault) -> Result:
    ended = end(
        start(target.logdir, "interrupt", *fault.what), max(target.interval, target.recorded)
    )
    return expected(ended, interrupted(ended))


def interrupted(ended: Ended) -> bool:
    """Return whether a process reported in one line that it was interrupted."""
    return ended.code == 130 and "interrupted; run again" in ended.error and ended.lines == 1


def fill_disk_in_a_save(target: Target, fault: Fault) -> Result:
    ended = end(start(target.logdir, "full", *fault.what), max(target.interval, target.recorded))
    return expected(ended, ended.refused and "No space left" in ended.error)


def fill_disk_any_time(target: Target, fault: Fault) -> Result:
    """Let no file grow any more: the next write of the process fails."""

    def limit(process: Process) -> None:
        with suppress(ProcessLookupError):  # it ended just now
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))

    ended = struck_at(target, fault, limit)
    return expected(ended, ended.refused)


def damage(target: Target, fault: Fault) -> Result:
    """Damage files, and kill the process that finds them after its next interval."""
    if target.interval < 2:
        end(start(target.logdir, "kill", "kept", "run.json", "3"))
    which, how = fault.what
    states = [*checkpoint.saved(target.directory / "state").values()]
    chosen = {"newest": states[-1:], "both": states}.get(which, [target.directory / which])
    for path in chosen:
        path.write_bytes(DAMAGE[how](path.read_bytes(), fault.at))
    ended = end(start(target.logdir, "kill", "kept", "run.json", "1"), target.interval)
    reported = "is damaged" in ended.out and ("starting over" in ended.out) == (which == "both")
    return expected(ended, reported and ended.code == -signal.SIGKILL)


def cut(content: bytes, at: float) -> bytes:
    return content[: int(len(content) * at / 2)]


def flip(content: bytes, at: float) -> bytes:
    byte, bit = divmod(int(len(content) * 8 * at), 8)
    return content[:byte] + bytes([content[byte] ^ (1 << bit)]) + content[byte + 1 :]


DAMAGE = {"cut": cut, "flip": flip}


def two_processes(target: Target, _fault: Fault) -> Result:
    """Start two at once: the first to save waits until the other was refused, then ends.

    If nothing is left to save, the other may find the run complete: the fault came too late.
    """
    both = [start(target.logdir, "stop", "kept", "state", "1") for _ in range(2)]
    deadline = time.monotonic() + TIMEOUT
    while all(process.poll() is None for process in both) and time.monotonic() < deadline:
        time.sleep(0.05)
    other, owner = sorted(both, key=lambda process: process.poll() is None)
    while owner.poll() is None:
        owner.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    refused, ended = end(other), end(owner, target.interval)
    clear = refused.refused and "in use by another process" in refused.error
    struck = refused.code != 0
    return struck, ended, "" if clear or not struck else f"{refused.code}: {refused.error}"


def struck_at(target: Target, fault: Fault, strike: Callable[[Process], None]) -> Ended:
    """Strike a process after a share of its work, and wait for its end."""
    known, process = max(target.interval, target.recorded), start(target.logdir)
    try:
        process.communicate(timeout=target.after(fault.at))
    except subprocess.TimeoutExpired:
        known = max(known, target.interval)
        strike(process)
    return end(process, known)


def expected(ended: Ended, clear: bool) -> Result:
    """Return the result of a process that must fail; one that did not was not struck."""
    finished = ended.code == 0
    unclear = "" if clear or finished else f"exit code {ended.code}: {ended.error or ended.out}"
    return not finished, ended, unclear


KINDS: dict[str, Callable[[Target, Fault], Result]] = {
    "SIGKILL at any moment": kill_any_time,
    "SIGKILL within a save": kill_in_a_save,
    "SIGINT or SIGTERM at any moment": interrupt,
    "SIGINT within a save": interrupt_in_a_save,
    "disk full within a save": fill_disk_in_a_save,
    "disk full at any moment": fill_disk_any_time,
    "files damaged": damage,
    "two processes": two_processes,
    "run again to the end": finish,
}
