"""What TensorBoard shows of an experiment: its card and verdicts, charts, the document's values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.harness.reporting import tables
from experiments.harness.reporting.result import Result
from experiments.harness.spec import Arm, Experiment, ReportedValues, Run, Scale, UserError
from experiments.harness.telemetry.event_writer import EventWriter
from experiments.harness.telemetry.metric_names import tag_of

DOCUMENT = "document"  # beside an arm's seeds: what the document prints of it


def write(
    experiment: Experiment, runs: Sequence[Run], folder: Path, result: Result | None = None
) -> None:
    """Write into ``folder`` afresh what there is to tell: before training, and of its result.

    The lab card, then the verdicts and the picture; a chart for each of the experiment's panels, in
    the Custom Scalars tab; and beside the runs of an arm, where it is not changed, the values that
    the document prints of it, at the intervals that it prints them for.
    """
    scale = runs[0].scale
    arms = experiment.at[scale]
    with _afresh(folder) as events:
        events.text(0, "lab_card", lab_card(experiment, scale))
        if result:
            events.text(0, "verdicts", tables.verdicts(result.summary()["claims"], "github"))
            events.png(0, "curves", result.picture)
        named = [name for arm in arms.values() for name in _columns(arm)]
        charts = {panel.label: [tag_of(panel.column, named)] for panel in experiment.panels}
        events.charts({experiment.title: charts})
    for name in {experiment.named(run) for run in runs if not run.changes}:
        if name in experiment.documented:
            _documented(experiment.documented[name], arms[name], folder / name / DOCUMENT)


def lab_card(experiment: Experiment, scale: Scale) -> str:
    """Return the experiment's lab card as Markdown."""
    arms = experiment.at[scale].items()
    parts = {
        "Arms": [f"**{name}** ({arm.role}): {arm.about}" for name, arm in arms],
        "Claims": [f"{c.text}. Document: {c.documented} ({c.where})" for c in experiment.claims],
        "The document's framework": experiment.framework,
        "Deviations": experiment.deviations,
    }
    lines = [f"# {experiment.title}", experiment.question, f"Document {experiment.document}"]
    for title, items in parts.items():
        lines += [f"## {title}", "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))]
    return "\n\n".join(lines)


def _documented(printed: ReportedValues, arm: Arm, folder: Path) -> None:
    with _afresh(folder) as events:
        for column in printed.columns:
            for interval, value in printed.points(column).items():
                events.scalar(interval * arm.steps, tag_of(column, _columns(arm)), value)


def _columns(arm: Arm) -> list[str]:
    """Return the columns of the test split in an arm's history."""
    return [f"test_{name}" for name in ("loss", *arm.metrics)]


def _afresh(folder: Path) -> EventWriter:
    try:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)  # another process may be here, too
        return EventWriter(folder)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from None
