"""``reproduce``, disturbed at a chosen moment of writing a chosen file.

    python -m tests.helpers.save_traps ACTION MOMENT FILE NTH -- arguments of reproduce

At the ``NTH`` visit of the moment the process kills itself with SIGKILL (``kill``), interrupts
itself (``interrupt``), finds the disk full (``full``), or stops until it gets SIGCONT (``stop``).
``FILE`` is a file's name, or ``state`` for any checkpoint.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments import reproduce
from experiments.harness.runtime import filesystem

MOMENTS = ("before", "half", "written", "synced", "renamed", "kept")  # of atomic_replace
TEMPORARY = ".tmp."
DELETION = ("deleting", "deleted")  # of an old checkpoint


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ACTIONS = {"kill": kill, "interrupt": interrupt, "full": full, "stop": stop}


class Trap:
    """Count the visits of one moment of writing one file, and act at the nth."""

    def __init__(self, act: Callable[[], None], moment: str, name: str, nth: int) -> None:
        self.act, self.target, self.left = act, (moment, name), nth

    def visit(self, moment: str, path: Path) -> None:
        """Act if it is time to; ``path`` is the file's final path, not its temporary one."""
        if (moment, "state" if path.name.isdigit() else path.name) == self.target:
            self.left -= 1
            if self.left == 0:
                if moment == "half":
                    temporary = path.with_name(TEMPORARY + path.name)
                    os.truncate(temporary, temporary.stat().st_size // 2)
                self.act()


def install(trap: Trap) -> None:
    """Make the harness visit the trap as it writes and deletes files."""
    atomic_replace, sync = filesystem.atomic_replace, filesystem._sync
    replace, unlink = Path.replace, Path.unlink

    @contextmanager
    def visit_writes(path: Path) -> Iterator[Path]:
        trap.visit("before", path)
        with atomic_replace(path) as temporary:
            yield temporary
            trap.visit("half", path)
            trap.visit("written", path)
        trap.visit("kept", path)

    def sync_and_visit(path: Path) -> None:
        sync(path)
        if path.name.startswith(TEMPORARY):
            trap.visit("synced", path.with_name(path.name.removeprefix(TEMPORARY)))

    def replace_and_visit(path: Path, target: Path) -> Path:
        moved = replace(path, target)
        trap.visit("renamed", target)
        return moved

    def unlink_and_visit(path: Path, missing_ok: bool = False) -> None:
        trap.visit("deleting", path)
        unlink(path, missing_ok)
        trap.visit("deleted", path)

    filesystem.atomic_replace, filesystem._sync = visit_writes, sync_and_visit
    Path.replace, Path.unlink = replace_and_visit, unlink_and_visit


def main(argv: list[str]) -> int:
    act, moment, name, nth, dashes, *rest = argv
    if dashes != "--" or moment not in MOMENTS + DELETION:
        raise SystemExit(__doc__)
    install(Trap(ACTIONS[act], moment, name, int(nth)))
    return reproduce.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
