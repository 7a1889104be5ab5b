"""Results as a page: HTML for a browser, Markdown for a repository."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.harness.reporting import tables

OUTCOMES = ("REPRODUCED", "REFUTED", "INCONCLUSIVE")


def to_html(
    told: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
    stories: Sequence[Mapping[str, str]],
    overviews: Mapping[str, Path],
) -> str:
    """Return one self-contained page: results' summaries, pictures and stories; titled overviews.

    A story is how a run stopped being finite, by its title.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        told=told,
        pictures=[_encoded(picture) for picture in pictures],
        stories=stories,
        overviews=[(title, _encoded(picture)) for title, picture in overviews.items()],
        outcomes=OUTCOMES,
        bounds=lambda claim: tables.bounds(claim["bounds"]),
        spread=lambda claim: tables.spread([float(v) for v in claim["values"].values()]),
        printed=lambda result: tables.reported(result, "html"),
    )


def to_markdown(told: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """Return the same as Markdown; ``pictures`` are the links to the results' pictures."""
    parts = ["# Documented and measured", tables.overview(told, "github")]
    for result, picture in zip(told, pictures, strict=True):
        environment = result["environment"]
        backend = environment["backend"]
        data = ", ".join(
            d["name"] + " (a stand-in, not the document's data)" * d["stand_in"]
            for d in result["datasets"]
        )
        parts += [
            f"## {result['experiment']}, {result['scale']}",
            result["question"],
            f"Document {result['document']}. Data: {data}. Seeds: "
            f"{', '.join(map(str, result['seeds']))}. {backend} "
            f"{environment['versions'][backend]} on {environment['device']}, "
            f"{environment['threads']} threads.",
            f"![{result['title']}]({picture})" if picture else "",
            tables.verdicts(result["claims"], "github"),
            tables.reported(result, "github") if result["printed"] else "",
            "\n".join(f"- {line}" for line in result["framework"]),
            "\n".join(f"{n}. {line}" for n, line in enumerate(result["deviations"], 1)),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _encoded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()
