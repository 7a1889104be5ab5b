"""Judge whatever runs a log directory holds, and write one page of it; train nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import catalog
from experiments.harness.runtime import cli, signals
from experiments.harness.spec import UserError

ROOT = Path(__file__).parents[1]


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    return cli.run_command("report", lambda: check() if asked.check else report(asked))


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = cli.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 records and pages have drifted apart (--check), 2 bad use "
        "or bad input, 130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("experiment", nargs="*", help="only these; default: all that there are runs of")
    add("--logdir", type=Path, default=Path("logs"), metavar="DIR", help="default: logs")
    form = door.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the results as JSON instead")
    form.add_argument("--markdown", action="store_true", help="print them as Markdown instead")
    form.add_argument("--record", action="store_true", help="also keep them as evidence in "
        "experiments/records, and write the README's table from all that is kept there")
    form.add_argument("--check", action="store_true", help="only check that records, README and "
        "catalogue agree")
    # fmt: on
    return door


def report(asked: argparse.Namespace) -> int:
    """Judge the runs, and tell it in the form that was asked for."""
    from experiments.harness.reporting import html, log_reader, plots, records
    from experiments.harness.runtime import filesystem

    experiments = [catalog.load(name) for name in asked.experiment or catalog.names()]
    if not asked.logdir.is_dir():
        raise UserError(f"there is no folder {asked.logdir}; name one by --logdir")
    results = log_reader.results(
        asked.logdir, experiments, lambda line: print(line, file=sys.stderr)
    )
    if not results:
        raise UserError(f"{asked.logdir} holds no run of an experiment; reproduce makes some")
    told = [result.summary() for result in results]
    if asked.json:
        print(json.dumps(told, indent=1))
        return cli.DONE
    if asked.markdown:
        print(html.to_markdown(told, [str(result.picture) for result in results]), end="")
        return cli.DONE
    pictures = [result.picture for result in results]
    overviews = plots.overviews(results, asked.logdir)
    path = asked.logdir / "report.html"
    filesystem.write_atomic(
        path, html.to_html(told, pictures, [result.stories for result in results], overviews)
    )
    if asked.record:
        for result in results:
            if reasons := records.objections(result):
                print(f"not kept: {result.experiment.name}: {'; '.join(reasons)}", file=sys.stderr)
            else:
                print(f"kept {records.write(result, ROOT / 'experiments/records')}")
        records.refresh(ROOT)
    from experiments.harness.reporting import tables

    print(f"{tables.overview(told)}\n\npage         {path}")
    return cli.DONE


def check() -> int:
    """Tell where records, pages and catalogue do not agree."""
    from experiments.harness.reporting import records

    lines = records.drift(ROOT, catalog.load)
    for line in lines:
        print(line)
    return cli.FAILED if lines else cli.DONE


if __name__ == "__main__":
    signals.exit_process(main())
