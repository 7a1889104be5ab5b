"""The pages of the repository that are generated from records, wholly or in part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.harness.reporting import benchmark_tables, html, labels, records, tables
from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError

WHOLE_PAGE = ""  # instead of a marker


def _results_table(folder: Path) -> str:
    results = [each for each in records.load(folder) if not labels.changes(each)]
    return tables.overview(results, "github", link=f"{records.FOLDER}/README.md")


def _results_page(folder: Path) -> str:
    results = records.load(folder)
    pictures = [f"{labels.record_name(result)}.png" for result in results]
    return html.to_markdown(results, pictures)


def _self_test_table(folder: Path) -> str:
    self_tests = records.load(folder / "reliability", "self-test-*.json")
    return tables.self_test([row for each in self_tests for row in each["rows"]], "github")


def _campaign_table(folder: Path) -> str:
    return tables.campaigns(records.load(folder / "reliability", "campaign-*.json"), "github")


def _portability_table(folder: Path) -> str:
    found = records.load(folder / "reliability", "portability.json")
    return "\n\n".join(tables.portability(each, "github") for each in found)


def _equal_units_table(folder: Path) -> str:
    found = records.load(folder / "reliability", "equal-units.json")
    return "\n\n".join(tables.equal_units(each, "github") for each in found)


def _benchmark_tables(folder: Path) -> str:
    benchmarks = records.load(folder / "speed", "benchmark-*.json")
    return "\n\n".join(benchmark_tables.overview(each, "github") for each in benchmarks)


# By page and marker, a function of the records' folder that returns the text between
# <!-- marker --> and <!-- end of marker -->.
PAGES: Mapping[str, Mapping[str, Callable[[Path], str]]] = {
    "README.md": {"records": _results_table},
    "docs/experiments.md": {"equal-units": _equal_units_table},
    "docs/performance.md": {"benchmarks": _benchmark_tables},
    "docs/reproducibility.md": {
        "portability": _portability_table,
        "self-tests": _self_test_table,
        "campaigns": _campaign_table,
    },
    f"{records.FOLDER}/README.md": {WHOLE_PAGE: _results_page},
}


def render(root: Path) -> dict[Path, str]:
    """Return the pages under ``root`` as they follow from the records, by path.

    Raises ``UserError`` if a page lacks a marker.
    """
    pages = {}
    for name, blocks in PAGES.items():
        path = root / name
        text = path.read_text() if path.exists() else ""
        for marker, block in blocks.items():
            text = _insert(text, block(root / records.FOLDER), marker, path)
        pages[path] = text
    return pages


def write(root: Path) -> None:
    """Write the pages under ``root``."""
    for path, text in render(root).items():
        filesystem.write_atomic(path, text)


def drift(root: Path) -> list[str]:
    """Return one line for each page that differs from the records."""
    return [
        f"{path.relative_to(root)} differs from the records; report --record updates it"
        for path, text in render(root).items()
        if not path.exists() or path.read_text() != text
    ]


def _insert(text: str, block: str, marker: str, path: Path) -> str:
    """Return the page's text with ``block`` between the marker's lines."""
    if marker == WHOLE_PAGE:
        return block
    begin, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise UserError(f"{path} lacks the line {end if begun else begin}; put it back")
    return f"{before}{begin}\n{block}\n{end}{after}"
