"""``reproduce``, struck at a chosen moment of a chosen file's writing.

    python -m tests.helpers.save_traps ACTION MOMENT FILE NTH -- words of reproduce

At the ``NTH`` visit of the moment the process kills itself with SIGKILL (``kill``), interrupts
itself (``interrupt``), finds the disk full (``full``), or stops until it is told to continue
(``stop``). ``FILE`` is a file's name, or
``state`` for whichever state.
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

MOMENTS = ("before", "half", "written", "synced", "renamed", "kept")  # of files.replacing
TEMPORARY = ".tmp."
DELETION = ("deleting", "deleted")  # of a state that is too old


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
    """Count the visits of one moment of one file's writing, and act at the nth."""

    def __init__(self, act: Callable[[], None], moment: str, name: str, nth: int) -> None:
        self.act, self.where, self.left = act, (moment, name), nth

    def visit(self, moment: str, path: Path) -> None:
        """Act where it is time to; ``path`` is the file's last name, not its temporary one."""
        if (moment, "state" if path.name.isdigit() else path.name) == self.where:
            self.left -= 1
            if self.left == 0:
                if moment == "half":
                    temporary = path.with_name(TEMPORARY + path.name)
                    os.truncate(temporary, temporary.stat().st_size // 2)
                self.act()


def lay(trap: Trap) -> None:
    """Have the harness's own writing and deleting visit the trap."""
    replacing, sync, replace, unlink = (
        filesystem.atomic_replace,
        filesystem._sync,
        Path.replace,
        Path.unlink,
    )

    @contextmanager
    def visited(path: Path) -> Iterator[Path]:
        trap.visit("before", path)
        with replacing(path) as temporary:
            yield temporary
            trap.visit("half", path)
            trap.visit("written", path)
        trap.visit("kept", path)

    def synced(path: Path) -> None:
        sync(path)
        if path.name.startswith(TEMPORARY):
            trap.visit("synced", path.with_name(path.name.removeprefix(TEMPORARY)))

    def renamed(path: Path, target: Path) -> Path:
        moved = replace(path, target)
        trap.visit("renamed", target)
        return moved

    def deleted(path: Path, missing_ok: bool = False) -> None:
        trap.visit("deleting", path)
        unlink(path, missing_ok)
        trap.visit("deleted", path)

    filesystem.atomic_replace, filesystem._sync = visited, synced
    Path.replace, Path.unlink = renamed, deleted


def main(words: list[str]) -> int:
    act, moment, name, nth, dashes, *rest = words
    if dashes != "--" or moment not in MOMENTS + DELETION:
        raise SystemExit(__doc__)
    lay(Trap(ACTIONS[act], moment, name, int(nth)))
    return reproduce.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
