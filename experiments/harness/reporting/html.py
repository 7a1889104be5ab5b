"""Results as a page: HTML for a browser, Markdown for a repository."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.harness.reporting import labels, tables
from experiments.harness.reporting import scripts as script_runs
from experiments.harness.spec.claim import FAILED, OUTCOMES

HOW_TO_READ = """\
- A line of three or more seeds is the median of those whose loss is finite there, or their mean
  where the axis says so. Seeds that were not trained equally long have a line each.
- Up to three measured values are listed in the order of their seeds. Of more the median is given,
  with the lowest and the highest. Seeds without a value are left out.
- A number of intervals, or a share of the run, is "inf" or "-inf" where an arm never gets there.
- A processor's name ends in its architecture and a digest of its instruction sets.
- Older runs did not measure their CPU time. The tables say how much their threads allow ("at
  most").
- A run with two or more times in the column "began" was trained that often, with the same
  fingerprint."""


def to_html(
    results: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
    overviews: Mapping[str, Path],
    scripts: Sequence[Mapping[str, Any]] = (),
    script_picture: Path | None = None,
) -> str:
    """Return one page that needs no other file.

    ``results`` are summaries; ``pictures`` are theirs, in the same order; ``overviews`` are
    pictures by title. ``scripts`` are summaries of the runs of users' own scripts, with one
    picture.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        results=results,
        pictures=[_base64(picture) for picture in pictures],
        overviews=[(title, _base64(picture)) for title, picture in overviews.items()],
        scripts=scripts,
        script_picture=_base64(script_picture) if script_picture else "",
        outcomes=OUTCOMES,
        failed=FAILED,
        documented=tables.DOCUMENTED,
        origins=(tables.DOCUMENTED, tables.HYPOTHESES),
        by_origin=tables.by_origin,
        stand_in=labels.STAND_IN,
        bounds=lambda claim: tables.bounds(claim["bounds"]),
        spread=lambda claim: tables.spread([float(v) for v in claim["values"].values()]),
        reported=lambda result: tables.reported(result, "html"),
        recorded_runs=lambda result: tables.recorded_runs(result, "html"),
    )


def to_markdown(
    results: Sequence[Mapping[str, Any]],
    pictures: Sequence[str],
    scripts: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the results as Markdown; ``pictures`` are the links to their pictures.

    ``scripts`` are summaries of the runs of users' own scripts.
    """
    parts = [
        "# Documented and measured",
        HOW_TO_READ,
        tables.overview(results, "github"),
        "## Claim by claim",
        tables.by_scale(results, "github"),
    ]
    for result, picture in zip(results, pictures, strict=True):
        environment = result["environment"]
        backend = environment["backend"]
        data = ", ".join(map(labels.dataset_in_text, result["datasets"]))
        changes = labels.changes(result)
        changed = f" Changed: {', '.join(changes)}." if changes else ""
        unfinished = tables.progress(result)
        progress = f" Not complete: {unfinished}." if unfinished else ""
        parts += [
            f"## {', '.join([result['experiment'], result['scale'], *labels.variations(result)])}",
            result["question"],
            f"Document {result['document']}. Data: {data}. Seeds: "
            f"{', '.join(map(str, result['seeds']))}. {backend} "
            f"{environment['versions'][backend]} on {labels.processor(environment)}, "
            f"{environment['threads']} threads. Training time: "
            f"{tables.training_time(result)}.{changed}{progress}",
            f"![{result['title']}]({picture})" if picture else "",
            tables.verdicts(result["claims"], "github"),
            tables.reported(result, "github"),
            "\n".join(f"- {line}" for line in result["framework"]),
            "\n".join(f"{n}. {line}" for n, line in enumerate(result["deviations"], 1)),
            f"<details><summary>Runs and fingerprints</summary>\n\n"
            f"{tables.recorded_runs(result, 'github')}\n\n</details>",
        ]
    if scripts:
        parts += ["## Runs of own scripts", script_runs.table(scripts, "github")]
    return "\n\n".join(filter(None, parts)) + "\n"


def _base64(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()
