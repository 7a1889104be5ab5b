"""Faults: what is done to a run's process or to its files, and what came of it."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from experiments.harness.storage import checkpoint
from tests.helpers.process_runs import PATIENCE, Ended, Place, Process, end, start

CODES = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}


@dataclass(frozen=True)
class Fault:
    """One disturbance: of a kind, what exactly, and ``at`` which share of a life or of a file."""

    kind: str
    what: tuple[str, ...] = ()
    at: float = 0.0

    def __str__(self) -> str:
        return " ".join([self.kind, *self.what, *[f"at {self.at:.3f}"] * bool(self.at)])


@dataclass(frozen=True)
class Outcome:
    """What came of a fault; ``struck`` is false where the process had ended before."""

    fault: Fault
    struck: bool
    code: int
    interval: int
    lost: int
    wrong: bool
    unclear: str
    seconds: float


def disturb(place: Place, fault: Fault) -> Outcome:
    """Let a process live in ``place`` under a fault, and look at what it left."""
    begun = time.perf_counter()
    struck, ended, unclear = KINDS[fault.kind](place, fault)
    finished = ended.code == 0
    return Outcome(
        fault=fault,
        struck=struck,
        code=ended.code,
        interval=place.interval,
        lost=max(0, max(ended.known, place.told) - place.interval),
        wrong=not place.is_whole() if finished else place.is_wrong(),
        unclear=unclear or ("" if finished else place.torn()),
        seconds=time.perf_counter() - begun,
    )


Told = tuple[bool, Ended, str]


def finish(place: Place, _fault: Fault) -> Told:
    """Run the same command again and let it come to its end."""
    ended = end(start(place.logdir), place.interval)
    return True, ended, "" if ended.code == 0 else f"exit code {ended.code}: {ended.error}"


def kill_any_time(place: Place, fault: Fault) -> Told:
    ended = struck_at(place, fault, subprocess.Popen.kill)
    return expected(ended, ended.code == -signal.SIGKILL)


def kill_in_a_save(place: Place, fault: Fault) -> Told:
    ended = end(start(place.logdir, "kill", *fault.what), max(place.interval, place.told))
    return expected(ended, ended.code == -signal.SIGKILL)


def interrupt(place: Place, fault: Fault) -> Told:
    """Send SIGINT or SIGTERM: exit code 130 and a line, or the signal's own before the door."""
    number = CODES[fault.what[0]]
    ended = struck_at(place, fault, lambda process: process.send_signal(number))
    return expected(ended, interrupted(ended) or (ended.code == -number and not ended.out))


def interrupt_in_a_save(place: Place, fault: Fault) -> Told:
    ended = end(start(place.logdir, "interrupt", *fault.what), max(place.interval, place.told))
    return expected(ended, interrupted(ended))


def interrupted(ended: Ended) -> bool:
    """Return whether a process said that it was interrupted, in one line."""
    return ended.code == 130 and "interrupted; run again" in ended.error and ended.lines == 1


def fill_disk_in_a_save(place: Place, fault: Fault) -> Told:
    ended = end(start(place.logdir, "full", *fault.what), max(place.interval, place.told))
    return expected(ended, ended.refused and "No space left" in ended.error)


def fill_disk_any_time(place: Place, fault: Fault) -> Told:
    """Let no file grow any more: the process is refused what it writes next."""

    def limit(process: Process) -> None:
        with suppress(ProcessLookupError):  # it ended just now
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))

    ended = struck_at(place, fault, limit)
    return expected(ended, ended.refused)


def damage(place: Place, fault: Fault) -> Told:
    """Spoil files, and kill the process that finds them so after its next interval."""
    if place.interval < 2:
        end(start(place.logdir, "kill", "kept", "run.json", "3"))
    which, how = fault.what
    states = [*checkpoint.saved(place.directory / "state").values()]
    chosen = {"newest": states[-1:], "both": states}.get(which, [place.directory / which])
    for path in chosen:
        path.write_bytes(DAMAGE[how](path.read_bytes(), fault.at))
    ended = end(start(place.logdir, "kill", "kept", "run.json", "1"), place.interval)
    said = "is damaged" in ended.out and ("starting over" in ended.out) == (which == "both")
    return expected(ended, said and ended.code == -signal.SIGKILL)


def cut(content: bytes, at: float) -> bytes:
    return content[: int(len(content) * at / 2)]


def flip(content: bytes, at: float) -> bytes:
    byte, bit = divmod(int(len(content) * 8 * at), 8)
    return content[:byte] + bytes([content[byte] ^ (1 << bit)]) + content[byte + 1 :]


DAMAGE = {"cut": cut, "flip": flip}


def two_processes(place: Place, _fault: Fault) -> Told:
    """Start two at once: the first to save waits until the other was refused, then ends.

    Where nothing is left to save, the other may find the run complete: the fault came too late.
    """
    both = [start(place.logdir, "stop", "kept", "state", "1") for _ in range(2)]
    deadline = time.monotonic() + PATIENCE
    while all(process.poll() is None for process in both) and time.monotonic() < deadline:
        time.sleep(0.05)
    other, owner = sorted(both, key=lambda process: process.poll() is None)
    while owner.poll() is None:
        owner.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    refused, ended = end(other), end(owner, place.interval)
    clear = refused.refused and "in use by another process" in refused.error
    struck = refused.code != 0
    return struck, ended, "" if clear or not struck else f"{refused.code}: {refused.error}"


def struck_at(place: Place, fault: Fault, strike: Callable[[Process], None]) -> Ended:
    """Strike a process after a share of its life, and wait for its end."""
    known, process = max(place.interval, place.told), start(place.logdir)
    try:
        process.communicate(timeout=place.after(fault.at))
    except subprocess.TimeoutExpired:
        known = max(known, place.interval)
        strike(process)
    return end(process, known)


def expected(ended: Ended, clear: bool) -> Told:
    """Return what is told of a process that must not end well; one that did was not struck."""
    finished = ended.code == 0
    unclear = "" if clear or finished else f"exit code {ended.code}: {ended.error or ended.out}"
    return not finished, ended, unclear


KINDS: dict[str, Callable[[Place, Fault], Told]] = {
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
