"""An experiment in TensorBoard: lab card, verdicts, charts and the document's values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.harness.reporting import tables
from experiments.harness.reporting.result import Result
from experiments.harness.spec import Arm, Experiment, ReportedValues, RunSpec, Scale, UserError
from experiments.harness.telemetry.event_writer import EventWriter
from experiments.harness.telemetry.metric_names import tensorboard_tag

DOCUMENT = "document"  # the folder, beside an arm's seeds, of the document's values


def write(
    experiment: Experiment, specs: Sequence[RunSpec], folder: Path, result: Result | None = None
) -> None:
    """Write an experiment's events into ``folder``, replacing earlier ones.

    They are the lab card, a Custom Scalars chart for each panel and, with ``result``, the verdicts
    and the picture. The values that the document prints go beside the runs of each arm without
    overrides.
    """
    scale = specs[0].scale
    arms = experiment.at[scale]
    with _new_events(folder) as events:
        events.text(0, "lab_card", lab_card(experiment, scale))
        if result:
            events.text(0, "verdicts", tables.verdicts(result.summary()["claims"], "github"))
            events.png(0, "curves", result.picture)
        columns = [column for arm in arms.values() for column in _test_columns(arm)]
        charts = {
            panel.label: [tensorboard_tag(panel.column, columns)] for panel in experiment.panels
        }
        events.charts({experiment.title: charts})
    for name in {experiment.name_of(spec) for spec in specs if not spec.overrides}:
        if name in experiment.documented:
            _write_reported(experiment.documented[name], arms[name], folder / name / DOCUMENT)


def lab_card(experiment: Experiment, scale: Scale) -> str:
    """Return the experiment's lab card as Markdown."""
    arms, claims = experiment.at[scale].items(), experiment.claims
    parts = {
        "Arms": [f"**{name}** ({arm.role}): {arm.about}" for name, arm in arms],
        "The document's claims": [
            f"{c.text}. Document: {c.documented} ({c.where})" for c in claims if not c.is_hypothesis
        ],
        "This project's hypotheses": [c.text for c in claims if c.is_hypothesis],
        "The document's framework": experiment.framework,
        "Deviations": experiment.deviations,
    }
    lines = [f"# {experiment.title}", experiment.question, f"Document {experiment.document}"]
    for title, items in parts.items():
        lines += [f"## {title}", "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))]
    return "\n\n".join(lines)


def _write_reported(reported: ReportedValues, arm: Arm, folder: Path) -> None:
    with _new_events(folder) as events:
        for column in reported.columns:
            tag = tensorboard_tag(column, _test_columns(arm))
            for interval, value in reported.points(column).items():
                events.scalar(interval * arm.steps, tag, value)


def _test_columns(arm: Arm) -> list[str]:
    """Return the history's columns for the test split."""
    return [f"test_{name}" for name in ("loss", *arm.metrics)]


def _new_events(folder: Path) -> EventWriter:
    """Return a writer into ``folder``, without the events that were there."""
    try:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)  # another process may delete it too
        return EventWriter(folder)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from None
