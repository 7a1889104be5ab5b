"""The report command on tiny runs, and the committed records and pages."""

import json
import logging
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

import experiments
from experiments import catalog, report
from experiments.harness.data import mnist
from experiments.harness.reporting import (
    html,
    labels,
    log_reader,
    pages,
    plots,
    records,
    tables,
)
from experiments.harness.reporting.records import ACCEPTED_STAND_INS
from experiments.harness.spec import History, Run, UserError
from experiments.harness.spec.claim import FAILED
from experiments.harness.spec.judge import CHANGED_NOTE, judge
from experiments.harness.storage.run_directory import NAN_CAUSE_FILE
from tests.helpers.corrupted_runs import SMALL_CNN
from tests.helpers.planning import shrink_miniatures

ROOT = Path(__file__).parents[1]
TINY = {"alexnet": SMALL_CNN | {"batch_size": 8, "steps": 2, "intervals": 3, "test_examples": 20}}
REAL = {"name": "mnist", "sha256": "0", "stand_in": False}
BLOCKS = [(page, marker) for page, blocks in pages.PAGES.items() for marker in blocks]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory) -> Path:
    """Return a log directory with runs of two experiments that share an arm."""
    logdir = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_miniatures(monkeypatch, TINY)
        options = {"scale": "mini", "data": ["digits"], "seeds": [0, 1], "telemetry_every": 0}
        for name in ("alexnet_lr_decay", "alexnet_grouped"):
            experiments.run(name, **options, logdir=logdir)
    return logdir


@pytest.fixture
def tiny(monkeypatch) -> None:
    shrink_miniatures(monkeypatch, TINY)


@pytest.fixture
def repository(tmp_path) -> Path:
    """Return a copy of the records and the pages that are generated from them."""
    shutil.copytree(ROOT / records.FOLDER, tmp_path / records.FOLDER)
    for page in pages.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / page, tmp_path / page)
    return tmp_path


@pytest.mark.usefixtures("tiny")
def test_a_shared_arm_is_trained_once(logdir, caplog):
    shared = logdir / "alexnet_small_init/mini/as_documented"
    assert sorted(path.name for path in shared.iterdir()) == ["seed0", "seed1"]
    assert not (logdir / "alexnet_lr_decay/mini/fixed_rate").exists()
    options = {"scale": "mini", "data": ["digits"], "seeds": [0, 1], "logdir": logdir}
    with caplog.at_level(logging.INFO, "rerun_zoo"):
        result = experiments.run("alexnet_grouped", **options)
    assert sum("already trained: " in line for line in caplog.messages) == len(result.runs) == 6


@pytest.mark.usefixtures("tiny")
def test_histories_are_frames_and_verdicts_a_table(logdir):
    options = {"scale": "mini", "data": ["digits"], "seeds": [0], "logdir": logdir}
    result = experiments.run("alexnet_lr_decay", **options)
    assert experiments.load("alexnet_lr_decay").question == result.experiment.question
    history = result.histories["decayed_rate", 0]
    assert list(history.index) == [1, 2, 3]
    assert history["step"].tolist() == [2, 4, 6]
    assert len(result.verdicts) == len(result.experiment.claims)
    assert set(result.verdicts["verdict"]) <= {"REPRODUCED", "DIFFERS", "INCONCLUSIVE"}
    assert "C1" in str(result)
    assert result.picture.exists()


def test_the_documents_own_result_file_is_written(logdir):
    seed = logdir / "alexnet_lr_decay/mini/decayed_rate/seed0"
    lines = (seed / "AlexNet.csv").read_text().splitlines()
    assert len(lines) == 3
    history = [line.split(",") for line in (seed / "history.csv").read_text().splitlines()]
    loss, accuracy = (history[0].index(name) for name in ("test_loss", "test_accuracy"))
    for line, row in zip(lines, history[1:], strict=True):
        assert [float(v) for v in line.split(",")] == pytest.approx(
            [float(row[loss]), float(row[accuracy])], rel=1e-6
        )


@pytest.mark.usefixtures("tiny")
def test_the_html_page_is_complete_and_self_contained(logdir, capsys, caplog):
    assert report.main(["--logdir", str(logdir)]) == 0
    captured = capsys.readouterr()
    assert "alexnet_lr_decay" in captured.out
    page = unescape((logdir / "report.html").read_text())
    for name in ("alexnet_lr_decay", "alexnet_grouped"):
        assert f'id="{name}-mini"' in page
        assert catalog.load(name).question in page
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert "a stand-in, not the document's data" in page
    (result,) = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")])
    for run in result.runs:
        assert run.fingerprint[:16] in page
    assert not caplog.messages, "no run is left out"


@pytest.mark.usefixtures("tiny")
def test_the_html_page_shows_saved_causes_of_nan(logdir, tmp_path):
    shutil.copytree(logdir / "alexnet_lr_decay", tmp_path / "alexnet_lr_decay")
    run = next(tmp_path.rglob("run.json")).parent
    (run / NAN_CAUSE_FILE).write_bytes(b"step 3: <NaN>\xff")
    assert report.main(["--logdir", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    seed = run.name.removeprefix("seed")
    assert f"Cause of the NaN: {run.parent.name}, seed {seed}" in page
    assert "<pre>step 3: &lt;NaN&gt;\ufffd</pre>" in page


@pytest.mark.usefixtures("tiny")
def test_markup_in_a_run_record_is_escaped_on_the_html_page(logdir, tmp_path):
    shutil.copytree(logdir / "alexnet_lr_decay", tmp_path / "alexnet_lr_decay")
    for path in tmp_path.rglob("run.json"):
        row = json.loads(path.read_text())
        row["dataset"]["name"] = "<script>alert(1)</script>"
        path.write_text(json.dumps(row))
    assert report.main(["--logdir", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.usefixtures("tiny")
def test_json_and_markdown_go_to_stdout(logdir, capsys):
    assert report.main(["--logdir", str(logdir), "--json", "alexnet_lr_decay"]) == 0
    (result,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert result["seeds"] == [0, 1]
    assert len(result["runs"]) == 6  # three arms, two of them shared, of two seeds
    assert report.main(["--logdir", str(logdir), "--markdown"]) == 0
    text = capsys.readouterr().out
    assert tables.verdicts(result["claims"], "github") in text
    assert "Data: digits (a stand-in, not the document's data)." in text


def test_runs_of_arms_that_have_changed_in_the_catalogue_are_left_out(logdir, capsys):
    assert report.main(["--logdir", str(logdir)]) == 2  # without ``tiny``: other miniatures
    error = capsys.readouterr().err
    assert "are left out, as their arms have changed in the catalogue" in error
    assert "contains no runs of these experiments" in error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--logdir", "no/such/folder"], "there is no folder no/such/folder"),
        (["--logdir", str(ROOT / "zoo")], "contains no runs of these experiments"),
        (["alexnet_lr_dekay"], "did you mean 'alexnet_lr_decay'?"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(argv, message, capsys):
    assert report.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_records_pages_and_catalogue_agree(capsys):
    assert report.main(["--check"]) == 0, capsys.readouterr().out


def test_every_marker_of_a_generated_table_is_known():
    found = {
        (str(path.relative_to(ROOT)), marker)
        for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for marker in re.findall("<!-- end of (.*) -->", path.read_text())
    }
    assert found == {(page, marker) for page, marker in BLOCKS if marker != pages.WHOLE_PAGE}
    assert len(found) > 3


@pytest.mark.parametrize(("page", "marker"), BLOCKS)
def test_an_edited_table_is_noticed_and_written_again(page, marker, repository, monkeypatch):
    monkeypatch.setattr(report, "ROOT", repository)
    path = repository / page
    text = path.read_text()
    place = text.index("|", text.index(f"<!-- {marker} -->") if marker else 0)
    path.write_text(f"{text[:place]}| 77 {text[place:]}")
    assert report.main(["--check"]) == 1
    assert pages.drift(repository) == [
        f"{page} differs from the records; report --record updates it"
    ]
    pages.write(repository)
    assert path.read_text() == text
    assert report.main(["--check"]) == 0


@pytest.mark.parametrize("line", ["<!-- campaigns -->", "<!-- end of campaigns -->"])
def test_a_page_without_a_marker_is_an_error_and_not_written(line, repository):
    page = repository / "docs/reproducibility.md"
    text = page.read_text().replace(line, "")
    page.write_text(text)
    with pytest.raises(experiments.UserError, match=f"reproducibility.md lacks the line {line}"):
        pages.write(repository)
    assert page.read_text() == text


def test_a_missing_page_is_noticed(repository):
    (repository / records.FOLDER / "README.md").unlink()
    assert len(pages.drift(repository)) == 1
    (repository / "docs/performance.md").unlink()
    with pytest.raises(experiments.UserError, match=r"performance\.md lacks the line"):
        pages.drift(repository)


def test_an_edited_record_is_noticed(repository, monkeypatch, capsys):
    monkeypatch.setattr(report, "ROOT", repository)
    folder = repository / records.FOLDER
    path = next(folder.glob("*.json"))
    record = json.loads(path.read_text())
    record["claims"][0] |= {"verdict": "INCONCLUSIVE", "bounds": [-1, -1]}
    record["runs"][0]["history"]["test_loss"][-1] = 77
    path.write_text(json.dumps(record))
    assert report.main(["--check"]) == 1
    output = capsys.readouterr().out
    assert "README.md differs from the records" in output
    assert f"{path.stem}: C1 is judged differently now" in output
    path.with_suffix(".png").unlink()
    assert f"{path.stem}: its picture is missing" in records.drift(folder, catalog.load)
    record["runs"][0]["identity"] = "0"
    path.write_text(json.dumps(record))
    (line, _) = records.drift(folder, catalog.load)
    assert "the catalogue now defines its arm" in line


def test_every_experiment_has_a_record_and_refuted_claims_an_explanation():
    found = records.load(ROOT / records.FOLDER)
    own = [record for record in found if not labels.variations(record)]
    miniatures = [record["experiment"] for record in own if record["scale"] == "mini"]
    assert miniatures == catalog.names(), "each experiment has a record"
    for record in found:
        assert all(not d["stand_in"] or d["name"] in ACCEPTED_STAND_INS for d in record["datasets"])
        for number, claim in enumerate(record["claims"], 1):
            where = f"{record['experiment']} C{number}"
            explained = claim["instead"] or CHANGED_NOTE in claim["note"]
            assert claim["verdict"] not in FAILED or explained, where


def test_a_record_is_judged_and_drawn_again(tmp_path):
    folder, path = tmp_path, tmp_path / "alexnet_grouped-protocol.json"
    for name in (path.name, "alexnet_default_init-mini.json"):
        shutil.copy(ROOT / records.FOLDER / name, folder)
    shutil.copy(ROOT / records.FOLDER / "alexnet_default_init-mini.png", folder)
    sound = json.loads(path.read_text())
    assert any("cpu_seconds" in run for run in sound["runs"])
    path.write_text(json.dumps({**sound, "printed": sound["printed"][1:]}))
    line = f"{path.stem}: the catalogue has another printed"
    assert line in records.drift(folder, catalog.load)
    stale = {
        **sound,
        "title": "old",
        "printed": [],
        "claims": [{**sound["claims"][0], "verdict": "REFUTED"}],
    }
    path.write_text(json.dumps(stale))
    assert records.judge_again(folder, catalog.load) == [path]
    assert path.with_suffix(".png").exists()
    assert not records.drift(folder, catalog.load)
    assert json.loads(path.read_text())["runs"] == sound["runs"]


@pytest.mark.usefixtures("tiny")
def test_stand_in_data_is_not_recorded_except_mnist5k(logdir, tmp_path, caplog):
    (result,) = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")])
    assert not caplog.messages
    with pytest.raises(experiments.UserError, match="alexnet_lr_decay: it was run on digits"):
        records.write(result, tmp_path)
    assert not [*tmp_path.iterdir()]
    dataset = mnist.load("mnist5k")[0].identity()
    runs = [
        replace(run, commit="abc", commit_at_end="abc", spec=replace(run.spec, dataset=dataset))
        for run in result.runs
    ]
    path = records.write(replace(result, runs=runs), tmp_path)
    assert path.stem == "alexnet_lr_decay-mini-mnist5k", "beside the record on MNIST"
    (saved,) = records.load(tmp_path)
    assert "STAND-IN DATA" in saved["claims"][0]["note"]
    own = {**saved, "datasets": [REAL]}
    assert tables.by_scale([saved, own]) == tables.by_scale([own]) != tables.by_scale([])
    assert "## alexnet_lr_decay, mini, mnist5k\n" in html.to_markdown([saved], [path.stem + ".png"])
    assert "#alexnet_lr_decay-mini-mnist5k)" in tables.overview([saved], "github", link="page")


@pytest.mark.usefixtures("tiny")
def test_record_says_why_a_result_is_not_saved_and_updates_the_pages(
    logdir, repository, monkeypatch, capsys
):
    monkeypatch.setattr(report, "ROOT", repository)
    monkeypatch.setattr(plots, "draw", lambda _, __, path, *___: path.touch())  # of 20 records
    before = {path: path.read_bytes() for path in (repository / records.FOLDER).glob("*.*")}
    readme = repository / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("| mini ", "| full "))
    assert report.main(["--record", "--logdir", str(logdir)]) == 0
    assert "not saved: alexnet_lr_decay: it was run on digits" in capsys.readouterr().err
    assert readme.read_text() == text
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.usefixtures("tiny")
def test_evidence_is_written_as_json_and_picture(logdir, tmp_path):
    (result,) = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")])
    experiment = replace(result.experiment, seeds=(0, 1))
    runs = [
        replace(run, commit="abc", commit_at_end="abc", spec=replace(run.spec, dataset=REAL))
        for run in result.runs
    ]
    evidence = replace(result, experiment=experiment, runs=runs)
    path = records.write(evidence, tmp_path)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    (saved,) = records.load(tmp_path)
    assert saved["runs"] == evidence.summary()["runs"]
    assert "mini" in saved["claims"][0]["note"]
    assert "STAND-IN" not in saved["claims"][0]["note"]
    assert '"seeds": [0, 1],' in path.read_text()
    first, (second, *rest) = runs[0].spec.title, runs[1:]
    nondeterministic = [with_environment(run, deterministic=False) for run in runs]
    for reason, defective in {
        "runs are missing": runs[1:],
        "runs are not complete": [replace(runs[0], status="partial"), *runs[1:]],
        f"runs of uncommitted code ({first})": [replace(runs[0], commit="abc+"), *runs[1:]],
        f"the code changed during a run ({second.spec.title})": [
            runs[0],
            replace(second, commit_at_end="abd"),
            *rest,
        ],
        f"runs without determinism ({first} and {len(rest) + 1} more)": nondeterministic,
        "runs of several environments": [with_environment(runs[0], threads=64), *runs[1:]],
        "runs on several datasets": [with_dataset(runs[0], sha256="1"), *runs[1:]],
    }.items():
        assert reason in records.objections(replace(evidence, runs=defective))
    longer = [
        replace(run, status="partial", spec=replace(run.spec, scale="protocol")) for run in runs
    ]
    assert not records.objections(replace(evidence, runs=longer))


def with_dataset(run: Run, **fields) -> Run:
    return replace(run, spec=replace(run.spec, dataset={**run.spec.dataset, **fields}))


def with_environment(run: Run, **fields) -> Run:
    environment = {**run.spec.environment, **fields}
    return replace(run, spec=replace(run.spec, environment=environment))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_an_unfinished_run_decides_nothing_that_the_complete_one_contradicts(share):
    for record in records.load(ROOT / records.FOLDER):
        experiment = catalog.load(record["experiment"])
        runs = records.runs_of(record, experiment)
        begun = [
            replace(run, status="partial", history=History(run.history.rows[:length]))
            for run in runs
            for length in [max(1, round(share * run.intervals))]
        ]
        for then, now in zip(judge(experiment, begun), judge(experiment, runs), strict=True):
            assert then.outcome in ("INCONCLUSIVE", now.outcome), (record["experiment"], now)
            assert then.values.items() <= now.values.items()


@pytest.mark.usefixtures("tiny")
def test_a_record_keeps_runs_that_a_result_lacks_or_has_less_of(logdir, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "unusable", lambda _: [])  # they were run on digits
    (result,) = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")])
    link = "f" * 64  # the same for all, as that of two arms whose every weight is NaN
    result = replace(result, runs=[replace(r, chain=(*r.chain[:-1], link)) for r in result.runs])
    path = records.write(result, tmp_path)
    before = json.loads(path.read_text())
    explained = [replace(run, nan_cause=f"step {n}") for n, run in enumerate(result.runs)]
    records.write(replace(result, runs=explained), tmp_path)
    records.write(result, tmp_path)  # of a log directory that lacks the explanations
    rows = [row | {"nan_cause": f"step {n}"} for n, row in enumerate(before["runs"])]
    before = json.loads(path.read_text())
    assert before["runs"] == rows
    later = "2100-01-01T00:00:00+00:00"
    again = [replace(run, started=later) for run in result.runs]
    (tmp_path / "again").mkdir()
    for runs in (explained, again, result.runs):
        trained_twice = records.write(replace(result, runs=runs), tmp_path / "again")
    newest = [row | {"started": later, "also_started": [row["started"]]} for row in rows]
    assert json.loads(trained_twice.read_text())["runs"] == newest
    first, *_ = result.runs
    begun = replace(first, chain=first.chain[:2], history=History(first.history.rows[:1]))
    assert records.write(replace(result, runs=[begun]), tmp_path) == path
    after = json.loads(path.read_text())
    assert after["runs"] == before["runs"]
    assert [c["verdict"] for c in after["claims"]] == [c["verdict"] for c in before["claims"]]
    elsewhere = [with_environment(run, threads=64) for run in result.runs]
    with pytest.raises(UserError, match="runs are missing"):
        records.write(replace(result, runs=elsewhere[1:]), tmp_path)
    fewer = replace(
        result,
        experiment=replace(result.experiment, seeds=(0,)),
        runs=[run for run in elsewhere if run.spec.seed == 0],
    )
    with pytest.raises(UserError, match="move it away first"):
        records.write(fewer, tmp_path)
    later = [replace(run, started=f"3{run.started}") for run in elsewhere]
    records.write(replace(result, runs=later), tmp_path)
    now = json.loads(path.read_text())
    assert now["environment"]["threads"] == 64
    starts = [run["started"] for run in before["runs"]]
    assert [run["first_started"] for run in now["runs"]] == starts  # known since then
    assert [run["started"] for run in now["runs"]] == [f"3{time}" for time in starts]
    longer = tmp_path / "alexnet_lr_decay-full.json"
    longer.write_text(json.dumps({**before, "scale": "full"}))
    long = replace(begun, spec=replace(begun.spec, scale="full"))
    with pytest.raises(UserError, match="move it away first"):
        records.write(replace(result, runs=[long]), tmp_path)
    as_long = [replace(run, spec=replace(run.spec, scale="full")) for run in elsewhere]
    records.write(replace(result, runs=as_long), tmp_path)
    assert json.loads(longer.read_text())["environment"]["threads"] == 64


@pytest.mark.usefixtures("tiny")
def test_runs_with_overrides_are_reported_and_recorded_on_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "unusable", lambda _: [])  # they are run on digits
    options = {"scale": "mini", "data": ["digits"], "seeds": [0, 1], "telemetry_every": 0}
    logdir, changes = tmp_path / "logs", {"intervals": 1}
    result = experiments.run("alexnet_lr_decay", **options, overrides=changes, logdir=logdir)
    capsys.readouterr()
    command = ["alexnet_lr_decay", "--logdir", str(logdir), "--set"]
    assert report.main([*command, "intervals=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [result.summary()]
    assert report.main([*command, "intervals=2"]) == 2
    assert "no runs of these experiments with this --set" in capsys.readouterr().err
    assert report.main(command[:-1]) == 2
    path = records.write(result, tmp_path / "records")
    assert json.loads(path.read_text())["runs"] == result.summary()["runs"]

    def with_overrides(overrides):
        return [replace(run, spec=replace(run.spec, overrides=overrides)) for run in result.runs]

    with pytest.raises(UserError, match="move it away first"):
        records.write(replace(result, runs=with_overrides({"intervals": 2})), path.parent)
    unknown = {"network.no": 1}  # as of a catalogue whose networks had this option
    monkeypatch.setattr(log_reader, "find_runs", lambda *_: with_overrides(unknown))
    assert not log_reader.results(logdir, [result.experiment], unknown)


@pytest.mark.usefixtures("tiny")
def test_a_seed_with_arms_of_other_experiments_only_is_left_out(logdir, tmp_path):
    copy = shutil.copytree(logdir, tmp_path / "logs")
    for directory in copy.glob("alexnet_grouped/mini/*/seed1"):
        shutil.rmtree(directory)
    shutil.rmtree(copy / "alexnet_grouped/mini/stable_loss/seed0")  # so that no seed is whole
    (result,) = log_reader.results(copy, [catalog.load("alexnet_grouped")])
    arms = [(run.spec.arm_id, run.spec.seed) for run in result.runs]
    assert arms == [("alexnet_grouped:as_documented", 0), ("alexnet_small_init:as_documented", 0)]


@pytest.mark.usefixtures("tiny")
def test_a_document_with_several_experiments_has_a_picture_of_them_all(logdir, tmp_path, caplog):
    names = ("alexnet_lr_decay", "alexnet_grouped", "alexnet_small_init")
    results = log_reader.results(logdir, [catalog.load(name) for name in names])
    assert not caplog.messages
    (picture,) = plots.overviews(results, tmp_path).values()
    assert picture.read_bytes().startswith(b"\x89PNG")
