"""Judge the runs in a log directory and write one page about them; train nothing."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import catalog, load
from experiments.harness.runtime import cli, signals
from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from experiments.harness.reporting.result import Result
    from experiments.harness.spec import ScriptRun

ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("report", lambda: check() if args.check else report(args))


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 records, pages and catalogue disagree (--check), 2 bad use "
        "or bad input, 130 interrupted.",
        parents=cli.shared_flags("logdir"),
    )
    add = command.add_argument
    # fmt: off
    add("experiment", nargs="*", help="only these, your own files and modules too; default: "
        "all of the catalogue with runs in the log directory")
    add("--set", **cli.FLAGS["set"] | {"help": "report the runs that were trained with exactly "
        "these, instead of the runs that were trained without --set"})
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the results as JSON instead")
    form.add_argument("--markdown", action="store_true", help="print them as Markdown instead")
    form.add_argument("--record", action="store_true", help="also save them as records in "
        "experiments/records, judge the older records again, and update the pages that are "
        "generated from records")
    form.add_argument("--check", action="store_true", help="only check that records, pages and "
        "catalogue agree")
    # fmt: on
    return command


def report(args: argparse.Namespace) -> int:
    """Judge the runs and print or write the results."""
    from experiments.harness.reporting import html, plots, scripts, tables
    from experiments.harness.runtime import filesystem

    results, runs = read_results(args)
    payload, own = [result.summary() for result in results], scripts.summary(runs)
    pictures = [result.picture for result in results]
    if args.json:
        print(json.dumps([*payload, *own], indent=1))
        return cli.DONE
    if args.markdown:
        print(html.to_markdown(payload, list(map(str, pictures)), own), end="")
        return cli.DONE
    overviews = plots.overviews(results, args.logdir)
    path, picture = args.logdir / "report.html", args.logdir / scripts.PICTURE if own else None
    if picture:
        scripts.draw(runs, picture)
    page = html.to_html(payload, pictures, overviews, own, picture)
    filesystem.write_atomic(path, page)
    if args.record:
        record(results)
    found = [tables.overview(payload) if payload else "", scripts.table(own) if own else ""]
    print("\n\n".join([*filter(None, found), f"page         {path}"]))
    return cli.DONE


def read_results(args: argparse.Namespace) -> tuple[list[Result], dict[str, ScriptRun]]:
    """Return the results in the log directory and scripts' runs, unless a selection is named.

    Runs that are left out are logged on stderr.
    """
    from experiments.harness.reporting import log_reader, scripts

    if args.experiment:
        experiments = [load(name) for name in args.experiment]
        if args.record and (own_files := [each.file for each in experiments if each.file]):
            raise UserError(f"--record is for the catalogue's experiments, not {own_files[0]}")
    else:
        experiments, broken = catalog.load_all()
        for line in broken:
            print(f"report: {line}", file=sys.stderr)
    if not args.logdir.is_dir():
        raise UserError(f"there is no folder {args.logdir}; name one with --logdir")
    with contextlib.redirect_stdout(sys.stderr):
        results = log_reader.results(args.logdir, experiments, dict(args.set))
        own = {} if args.experiment or args.set else scripts.find_runs(args.logdir)
    if not results and not own:
        chosen = " with this --set" if args.set else ""
        raise UserError(
            f"{args.logdir} contains no runs of these experiments{chosen}; train them with "
            "reproduce"
        )
    return results, own


def record(results: Sequence[Result]) -> None:
    """Save the results that are evidence as records, and update the generated pages.

    Older records are judged again by today's catalogue. The chains of all traceable runs of the
    catalogue's arms are published, also those of other data than the document's.
    """
    from experiments.harness.reporting import pages, records
    from experiments.harness.storage import published

    for result in results:
        own = [run for run in result.runs if run.spec.experiment == result.experiment.name]
        if own and not own[0].spec.overrides and not records.untraceable(own):
            print(f"saved {published.publish(own, ROOT / records.FOLDER / published.FOLDER.name)}")
        try:
            print(f"saved {records.write(result, ROOT / records.FOLDER)}")
        except UserError as error:
            print(f"not saved: {error}", file=sys.stderr)
    for path in records.judge_again(ROOT / records.FOLDER, catalog.load):
        print(f"judged again {path}")
    pages.write(ROOT)


def check() -> int:
    """Print where records, pages and catalogue disagree."""
    from experiments.harness.reporting import pages, records

    lines = [*pages.drift(ROOT), *records.drift(ROOT / records.FOLDER, catalog.load)]
    for line in lines:
        print(line)
    return cli.FAILED if lines else cli.DONE


if __name__ == "__main__":
    signals.exit_process(main())
