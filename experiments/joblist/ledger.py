"""What became of each job: a small file in a folder of its own, beside what its door printed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from experiments.harness import files
from experiments.harness.spec import UserError
from experiments.joblist.plan import Job, Scale

Status = Literal["to do", "under way", "done", "failed"]
FILE, PRINTED, TOLD = "job.json", "stdout", "stderr"


@dataclass(frozen=True)
class Entry:
    """How a job stands.

    ``words``, ``backend`` and ``data`` are the job's; it was begun in so many ``slices``, and took
    ``seconds`` of those that were not killed. ``code`` is the last exit code, ``note`` says what is
    the matter.
    """

    words: Sequence[str]
    backend: str
    data: str = ""
    status: Status = "to do"
    slices: int = 0
    seconds: float = 0.0
    code: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Ledger:
    """The jobs' files below ``folder``, at a scale, on a backend, with data as it was told."""

    folder: Path
    scale: Scale
    backend: str
    data: str = ""

    def of(self, job: Job) -> Path:
        """Return the job's folder."""
        return self.folder / job.name

    def entry(self, job: Job) -> Entry:
        """Return how the job stands; ``UserError`` where its file is of another job, or damaged."""
        data = self.data if "--data" in job.heeds else ""
        new = Entry(job.at(self.scale, self.backend), self.backend, data)
        path = self.of(job) / FILE
        try:
            told = json.loads(path.read_text())
            found = checked(Entry(**told | {"words": tuple(told["words"])}))
        except FileNotFoundError:
            return new
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it to do the job again") from None
        for name in ("backend", "data", "words"):
            was, now = (getattr(entry, name) or "the default" for entry in (found, new))
            if was != now:
                raise UserError(
                    f"{path} is of another job: {name} {was!r} there, {now!r} here; "
                    "name another --logdir, or delete it"
                )
        return found

    def keep(self, job: Job, entry: Entry) -> Entry:
        """Write how the job stands, and return it."""
        self.of(job).mkdir(parents=True, exist_ok=True)
        files.write(self.of(job) / FILE, json.dumps(asdict(entry), indent=1) + "\n")
        return entry


def checked(entry: Entry) -> Entry:
    """Return an entry from a file; ``ValueError`` where a field is not of its kind."""
    sound = {
        "status": entry.status in get_args(Status),
        "slices": type(entry.slices) is int and entry.slices >= 0,
        "seconds": type(entry.seconds) in (int, float) and 0 <= entry.seconds < math.inf,
        "code": entry.code is None or type(entry.code) is int,
        "note": isinstance(entry.note, str),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise ValueError(f"{name} {getattr(entry, name)!r}")
    return entry
