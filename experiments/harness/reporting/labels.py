"""How results on stand-in data are labelled. Records and their pages hold these wordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.harness.spec.judge import STAND_IN_NOTE

STAND_IN = "a stand-in, not the document's data"


def dataset_in_title(dataset: Mapping[str, Any]) -> str:
    """Return a dataset's name for the title of a picture."""
    return dataset["name"] + ", a stand-in" * dataset["stand_in"]


def dataset_in_text(dataset: Mapping[str, Any]) -> str:
    """Return a dataset's name for a sentence."""
    return dataset["name"] + f" ({STAND_IN})" * dataset["stand_in"]


def stand_in_warning(dataset: Mapping[str, Any]) -> str:
    """Return what follows a dataset's name on the console: nothing if it is the document's."""
    return ": A STAND-IN, not the document's data" * dataset["stand_in"]


def scale_in_table(scale: str, datasets: Iterable[Mapping[str, Any]]) -> str:
    """Return a result's scale for a table, with the note that verdicts have on stand-in data."""
    return scale + f", {STAND_IN_NOTE}" * any(dataset["stand_in"] for dataset in datasets)
