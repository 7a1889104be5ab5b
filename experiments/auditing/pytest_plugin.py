"""A fixture for pytest: fail if a training does not repeat to the last bit, and say why.

    def train(): ...  # builds a model and fits it

    def test_training_repeats(same_bits):
        same_bits(train, repeats=2)

    def test_training_is_what_it_was(same_bits):
        same_bits.golden("digits", train)

What a function trains is recorded as ``audit`` records a script, in fresh processes. It is imported
there, so it must be a module's own function, without arguments.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from experiments.auditing.auditor import Audit
    from experiments.auditing.processes import Script

OPTION = "--update-golden"
GOLDEN_SUFFIX = ".golden.json"  # of the file beside the test's


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    parser.getgroup("rerun-zoo").addoption(
        OPTION,
        action="store_true",
        help="save the trainings of same_bits.golden as those of this environment",
    )


@pytest.fixture
def same_bits(request: pytest.FixtureRequest) -> SameBits:
    """Return a function that fails unless a training repeats; with ``golden`` as a method."""
    path = request.path
    return SameBits(
        path.with_name(f"{path.stem}{GOLDEN_SUFFIX}"), update=request.config.getoption(OPTION)
    )


class SameBits:
    """Runs trainings in fresh processes and fails if their bits differ."""

    def __init__(self, golden_file: Path, update: bool = False) -> None:
        self.golden_file, self.update = golden_file, update

    def __call__(self, train: Callable[[], Any], repeats: int = 2, find_cause: bool = True) -> None:
        """Fail if ``repeats`` runs of ``train`` differ anywhere, with what ``audit`` says.

        ``find_cause``: look for the likely cause by running it with switches, some minutes at most.
        """
        from experiments.auditing import auditor

        with _running(train) as script:
            records = auditor.run_all(script, repeats, script.scratch)
            if found := auditor.first_difference(records):
                audit = auditor.Audit(script, records)
                _fail(auditor.diagnose(audit, *found, find_cause=find_cause, find_fix=False))

    def golden(self, name: str, train: Callable[[], Any]) -> None:
        """Fail if a run of ``train`` differs from the one saved as ``name`` in this environment.

        Skips if only other environments have one. ``--update-golden`` saves the run instead.
        """
        from experiments.auditing import auditor, golden

        with _running(train) as script:
            (record,) = auditor.run_all(script, 1, script.scratch)
            if self.update:
                golden.update(self.golden_file, name, record)
                return
            saved = golden.load(self.golden_file, name, record)
            if saved is None:
                others = golden.others(self.golden_file, name, record)
                if not others:
                    _stop(f"no golden {name!r} in {self.golden_file}; pytest {OPTION} saves one")
                pytest.skip(f"no golden {name!r} for this environment: {others}")
            if finding := golden.compare(saved, record):
                _fail(replace(auditor.Audit(script, [record]), finding=finding))


@contextmanager
def _running(train: Callable[[], Any]) -> Iterator[Script]:
    """Yield the script that calls ``train``; in the block its errors fail the test."""
    from experiments.auditing import processes
    from experiments.harness.spec import ProcessError, UserError

    name = getattr(train, "__qualname__", "")
    if not inspect.isfunction(train) or not name.isidentifier():
        _stop(f"same_bits takes a function that a module defines, not {name or train!r}")
    with tempfile.TemporaryDirectory(prefix="same-bits-") as scratch:
        try:
            yield processes.function_script(train, Path(scratch))
        except (UserError, ProcessError) as error:
            outputs = sorted(Path(scratch).glob("run*"))
            output = processes.error_output(outputs[-1]) if outputs else ""
            _stop(f"{error}\n{output}".strip())


def _fail(audit: Audit) -> None:
    from experiments.auditing import report

    _stop(report.text(report.summary(audit)))


def _stop(message: str) -> None:
    pytest.fail(message, pytrace=False)
