"""Where a run lives, and which files in there are its own."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from experiments.harness.spec import Run, UserError
from experiments.harness.spec.identity import differences, identity_of

NAN_CAUSE_FILE = "first-nonfinite.txt"  # what replay found, where the user wanted it kept
OWN_FILES = (
    "run.json",
    "history.csv",
    "digests.csv",
    NAN_CAUSE_FILE,
    "model.keras",
    "state",
    "events.out.tfevents.*",
)


def directory_of(run: Run, logdir: Path) -> Path:
    """Return where the run lives under ``logdir``."""
    arm = run.arm_name
    if run.changes:
        changes = ",".join(f"{path}={value}" for path, value in sorted(run.changes.items()))
        if not re.fullmatch(r"[\w.,=-]{1,60}", changes):  # run.json tells them in full
            changes = hashlib.sha256(changes.encode()).hexdigest()[:8]
        arm = f"{arm}+{changes}"
    return logdir / run.experiment / run.scale / arm / f"seed{run.seed}"


def check_same_run(old: Run, new: Run, directory: Path) -> None:
    """Raise ``UserError`` where the directory's run is not the one that is to be made."""
    was, now = identity_of(old), identity_of(new)
    if differing := [f"{path} ({a} there, {b} here)" for path, a, b in differences(was, now)]:
        raise UserError(
            f"{directory} belongs to another run: {'; '.join(differing[:3])}; "
            "name another --logdir, or start over with --fresh"
        )


def clear(run: Run, directory: Path) -> None:
    """Delete what the run leaves in its directory, and nothing else."""
    own = run.arm.result_file[:1] if run.arm.result_file else ()
    for path in (path for pattern in (*OWN_FILES, *own) for path in directory.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
