"""Where a run lives, and which files in there are its own."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from pathlib import Path

from experiments.harness.spec import RunSpec, UserError
from experiments.harness.spec.identity import differences, identity_of

CODE = "code"  # in an identity, the digests of a user's own files
NAN_CAUSE_FILE = "first-nonfinite.txt"  # written by replay --keep
OWN_FILES = (
    "run.json",
    "history.csv",
    "digests.csv",
    NAN_CAUSE_FILE,
    "model.keras",
    "state",
    "events.out.tfevents.*",
)


def directory_of(spec: RunSpec, logdir: Path) -> Path:
    """Return where the run lives under ``logdir``."""
    arm = spec.arm_name
    if spec.overrides:
        suffix = ",".join(f"{path}={value}" for path, value in sorted(spec.overrides.items()))
        if not re.fullmatch(r"[\w.,=-]{1,60}", suffix):  # run.json has them in full
            suffix = hashlib.sha256(suffix.encode()).hexdigest()[:8]
        arm = f"{arm}+{suffix}"
    return logdir / spec.experiment / spec.scale / arm / f"seed{spec.seed}"


def check_same_run(old: RunSpec, new: RunSpec, directory: Path, source: str | None = None) -> None:
    """Raise ``UserError`` if the directory holds another run than the planned one.

    ``source`` is what ``--data`` takes for the old run's data, if that is known.
    """
    if not (different := differences(identity_of(old), identity_of(new))):
        return
    shown = [
        f"dataset: {_describe_data(old)} there, {_describe_data(new)} here"
        if path == "dataset"
        else f"{path} ({was} there, {now} here)"
        for path, was, now in different
        if path.partition(".")[0] != CODE
    ]
    changed = [name for name, *_ in differences(old.code, new.code)]
    shown[:0] = [f"the code of {', '.join(changed[:3])} has changed"] if changed else []
    only_data = [path for path, *_ in different] == ["dataset"]
    same_data = f"give --data {shlex.quote(source)}, " if only_data and source else ""
    raise UserError(
        f"{directory} belongs to another run: {'; '.join(shown[:3])}; "
        f"{same_data}name another --logdir, or start over with --fresh"
    )


def _describe_data(spec: RunSpec) -> str:
    return f"{spec.dataset['name']} (sha256 {spec.dataset['sha256'][:16]})"


def clear(spec: RunSpec, directory: Path) -> None:
    """Delete the run's own files from its directory, and nothing else."""
    own = spec.arm.result_file[:1] if spec.arm.result_file else ()
    for path in (path for pattern in (*OWN_FILES, *own) for path in directory.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
