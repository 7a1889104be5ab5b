"""How results on stand-in data or of changed arms are labelled, in records and their pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.harness.runtime import cpu
from experiments.harness.spec.judge import CHANGED_NOTE, MISSING_NOTE, STAND_IN_NOTE

STAND_IN = "a stand-in, not the document's data"
RECORDED_STAND_INS = {"mnist5k"}  # recorded beside the document's own data
UNFINISHED = "runs not complete"


def dataset_in_title(dataset: Mapping[str, Any]) -> str:
    """Return a dataset's name for the title of a picture."""
    return dataset["name"] + ", a stand-in" * dataset["stand_in"]


def dataset_in_text(dataset: Mapping[str, Any]) -> str:
    """Return a dataset's name for a sentence."""
    return dataset["name"] + f" ({STAND_IN})" * dataset["stand_in"]


def stand_in_warning(dataset: Mapping[str, Any]) -> str:
    """Return what follows a dataset's name on the console: nothing if it is the document's."""
    return ": A STAND-IN, not the document's data" * dataset["stand_in"]


def changes(result: Mapping[str, Any]) -> list[str]:
    """Return the changes of a result's arms, as ``path=value``."""
    return sorted({f"{k}={v}" for run in result["runs"] for k, v in run["changes"].items()})


def variations(result: Mapping[str, Any]) -> list[str]:
    """Return what distinguishes a result from its experiment's own at the same scale."""
    return [*recorded_stand_ins(result), *["changed"] * bool(changes(result))]


def recorded_stand_ins(result: Mapping[str, Any]) -> list[str]:
    """Return the names of a result's datasets that are recorded beside the document's own."""
    names = [dataset["name"] for dataset in result["datasets"] if dataset["stand_in"]]
    return [name for name in names if name in RECORDED_STAND_INS]


def record_name(result: Mapping[str, Any]) -> str:
    """Return the name of a record's files, without suffix: its anchor on the Markdown page, too."""
    return "-".join([result["experiment"], result["scale"], *variations(result)])


def processor(environment: Mapping[str, Any]) -> str:
    """Return the name of the processor, or of the accelerator, that an environment computes on.

    A processor's name ends in its architecture and a digest of its extensions.
    """
    if environment["device"] != "cpu":
        return str(environment["device"])
    if cpu.is_portable(environment):
        return "any processor (--portable)"
    return str(environment.get("cpu", "cpu"))


def is_unfinished(result: Mapping[str, Any]) -> bool:
    """Return whether a result has runs that are not complete, or claims that lack runs."""
    return any(run["status"] != "complete" for run in result["runs"]) or any(
        MISSING_NOTE in claim["note"] for claim in result["claims"]
    )


def scale_in_table(result: Mapping[str, Any]) -> str:
    """Return a result's scale for a table, with the notes that its verdicts have."""
    notes = {
        UNFINISHED: is_unfinished(result),
        STAND_IN_NOTE: any(dataset["stand_in"] for dataset in result["datasets"]),
        CHANGED_NOTE: bool(changes(result)),
    }
    return ", ".join([result["scale"], *(note for note, applies in notes.items() if applies)])
