"""Committed evidence: a JSON and a picture a result, and the pages that are generated from them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import files, page, tables
from experiments.harness.result import Result
from experiments.harness.spec import Experiment, UserError

BEGIN, END = "<!-- records -->", "<!-- end of records -->"


def write(result: Result, folder: Path) -> Path:
    """Write a result and its picture into ``folder``; return the JSON's path.

    Raises ``UserError`` for a result of other data than the experiment's own.
    """
    told = result.summary()
    for data in told["datasets"]:
        if data["stand_in"] and data["name"] != "frames":
            raise UserError(f"{result.experiment.name} was run on {data['name']}: no evidence")
    path = folder / f"{told['experiment']}-{told['scale']}.json"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(result.picture, path.with_suffix(".png"))
    plain = re.compile(r"\[\s+([^][{}]*?)\s+\]")  # a list of plain values: on one line
    text = plain.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(told, indent=1))
    files.write(path, text + "\n")
    return path


def load(folder: Path) -> list[dict[str, Any]]:
    """Return every record in ``folder``, by experiment, full before mini."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def pages(root: Path) -> dict[Path, str]:
    """Return what the generated files under ``root`` are to hold, by path."""
    folder = root / "experiments/records"
    records = load(folder)
    names = [f"{record['experiment']}-{record['scale']}.png" for record in records]
    readme = root / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    table = tables.tally(records, "github", link="experiments/records/README.md")
    return {
        readme: f"{before}{BEGIN}\n{table}\n{END}{after}",
        folder / "README.md": page.markdown(records, names),
    }


def drift(root: Path, load_experiment: Callable[[str], Experiment]) -> list[str]:
    """Return a line for each way in which records, pages and catalogue do not agree."""
    folder = root / "experiments/records"
    lines = [
        f"{path.relative_to(root)} is not what the records say; report --record writes it again"
        for path, text in pages(root).items()
        if not path.exists() or path.read_text() != text
    ]
    for record in load(folder):
        name = f"{record['experiment']}-{record['scale']}"
        claims = load_experiment(record["experiment"]).claims
        today = [(c.text, c.documented, _texts(c.bounds_at(record["scale"]))) for c in claims]
        then = [(c["claim"], c["documented"], _texts(c["bounds"])) for c in record["claims"]]
        if then != today:
            lines.append(f"{name}: the catalogue's claims are no longer those that were judged")
        if not (folder / f"{name}.png").exists():
            lines.append(f"{name}: its picture is missing")
    return lines


def refresh(root: Path) -> None:
    """Write the generated files under ``root``."""
    for path, text in pages(root).items():
        files.write(path, text)


def _texts(bounds: Sequence[Any] | Mapping[str, Any]) -> list[str]:
    return [str(float(bound)) for bound in bounds]
