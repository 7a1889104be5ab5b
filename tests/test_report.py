"""The report's door, over runs small enough to make here, and over the evidence that is kept."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest

import experiments
from experiments import catalog, report
from experiments.harness.reporting import log_reader, plots, records, tables
from experiments.harness.storage.run_directory import NAN_CAUSE_FILE

ROOT = Path(__file__).parents[1]
TINY = {"network.width": 1 / 16, "batch_size": 8, "steps": 2, "intervals": 3, "test_examples": 20}


def refuse(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory) -> Path:
    """Return a log directory with runs of two experiments, which share one, tiny but unchanged."""
    logdir = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patched:
        tiny(patched)
        for name in ("alexnet_lr_decay", "alexnet_grouped"):
            experiments.run(name, scale="mini", data=["digits"], seeds=[0, 1], logdir=logdir)
    return logdir


def tiny(patched: pytest.MonkeyPatch) -> None:
    """Make every miniature of this process smaller still."""
    from experiments.harness.spec.overrides import override

    load = catalog.load
    for name in catalog.names():
        load(name)  # they are kept: none may be completed from smaller ones

    def smaller(name: str):
        experiment = load(name)
        mini = {
            name: override(arm, TINY) if arm.network["class_name"] == "alexnet" else arm
            for name, arm in experiment.at["mini"].items()
        }
        return experiment.__class__(**vars(experiment) | {"at": {**experiment.at, "mini": mini}})

    patched.setattr(catalog, "load", smaller)


@pytest.fixture
def small(monkeypatch) -> None:
    tiny(monkeypatch)


@pytest.mark.usefixtures("small")
def test_a_shared_arm_is_trained_once(logdir):
    shared = logdir / "alexnet_small_init/mini/as_documented"
    assert sorted(path.name for path in shared.iterdir()) == ["seed0", "seed1"]
    assert not (logdir / "alexnet_lr_decay/mini/fixed_rate").exists()
    told = []
    result = experiments.run(
        "alexnet_grouped",
        scale="mini",
        data=["digits"],
        seeds=[0, 1],
        logdir=logdir,
        tell=told.append,
    )
    assert sum("holds this run;" in line for line in told) == len(result.runs) == 4


@pytest.mark.usefixtures("small")
def test_from_python_histories_are_frames_and_verdicts_a_table(logdir):
    result = experiments.run(
        "alexnet_lr_decay",
        scale="mini",
        data=["digits"],
        seeds=[0],
        logdir=logdir,
        tell=[].append,
    )
    assert experiments.load("alexnet_lr_decay").question == result.experiment.question
    history = result.histories["decayed_rate", 0]
    assert list(history.index) == [1, 2, 3]
    assert history["step"].tolist() == [2, 4, 6]
    assert len(result.verdicts) == len(result.experiment.claims)
    assert set(result.verdicts["verdict"]) <= {"REPRODUCED", "REFUTED", "INCONCLUSIVE"}
    assert "C1" in str(result)
    assert result.picture.exists()


def test_the_documents_own_result_file_is_left_too(logdir):
    seed = logdir / "alexnet_lr_decay/mini/decayed_rate/seed0"
    lines = (seed / "AlexNet.csv").read_text().splitlines()
    assert len(lines) == 3
    history = [line.split(",") for line in (seed / "history.csv").read_text().splitlines()]
    loss, accuracy = (history[0].index(name) for name in ("test_loss", "test_accuracy"))
    for line, row in zip(lines, history[1:], strict=True):
        assert [float(v) for v in line.split(",")] == pytest.approx(
            [float(row[loss]), float(row[accuracy])], rel=1e-6
        )


@pytest.mark.usefixtures("small")
def test_the_page_holds_everything_and_nothing_from_elsewhere(logdir, capsys):
    assert report.main(["--logdir", str(logdir)]) == 0
    captured = capsys.readouterr()
    assert "alexnet_lr_decay" in captured.out
    page = html.unescape((logdir / "report.html").read_text())
    for name in ("alexnet_lr_decay", "alexnet_grouped"):
        assert f'id="{name}-mini"' in page
        assert catalog.load(name).question in page
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert "a stand-in" in page
    results = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")], refuse)
    for run in results[0].runs:
        assert run.fingerprint[:16] in page


@pytest.mark.usefixtures("small")
def test_the_page_shows_the_stories_that_were_kept(logdir, tmp_path):
    shutil.copytree(logdir / "alexnet_lr_decay", tmp_path / "alexnet_lr_decay")
    run = next(tmp_path.rglob("run.json")).parent
    (run / NAN_CAUSE_FILE).write_text("step 3: <NaN>")
    assert report.main(["--logdir", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    title = f"{run.parent.name}, {run.name.replace('seed', 'seed ')}"
    assert f"How it stopped being finite: {title}" in page
    assert "<pre>step 3: &lt;NaN&gt;</pre>" in page


@pytest.mark.usefixtures("small")
def test_what_is_hostile_in_a_record_is_text_on_the_page(logdir, tmp_path):
    shutil.copytree(logdir / "alexnet_lr_decay", tmp_path / "alexnet_lr_decay")
    for path in tmp_path.rglob("run.json"):
        told = json.loads(path.read_text())
        told["dataset"]["name"] = "<script>alert(1)</script>"
        path.write_text(json.dumps(told))
    assert report.main(["--logdir", str(tmp_path)]) == 0
    assert "<script>" not in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("small")
def test_json_and_markdown_go_to_stdout(logdir, capsys):
    assert report.main(["--logdir", str(logdir), "--json", "alexnet_lr_decay"]) == 0
    (told,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["seeds"] == [0, 1]
    assert len(told["runs"]) == 6  # the decayed rate's and both that are shared, of two seeds
    assert report.main(["--logdir", str(logdir), "--markdown"]) == 0
    text = capsys.readouterr().out
    assert tables.verdicts(told["claims"], "github") in text


def test_runs_that_the_catalogue_tells_otherwise_are_left_out_and_told(logdir, capsys):
    assert report.main(["--logdir", str(logdir)]) == 2  # without ``small``: other miniatures
    error = capsys.readouterr().err
    assert "left out, as the catalogue tells their arms otherwise" in error
    assert "holds no run" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--logdir", "no/such/folder"], "there is no folder no/such/folder"),
        (["--logdir", str(ROOT / "zoo")], "holds no run"),
        (["alexnet_lr_dekay"], "did you mean 'alexnet_lr_decay'?"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(words, told, capsys):
    assert report.main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_records_readme_and_catalogue_agree(capsys):
    assert report.main(["--check"]) == 0, capsys.readouterr().out


def test_every_experiment_has_evidence_of_its_own_data_and_refutations_are_explained():
    found = records.load(ROOT / "experiments/records")
    miniatures = [record["experiment"] for record in found if record["scale"] == "mini"]
    assert miniatures == catalog.names(), "each experiment has its evidence"
    for record in found:
        assert all(not d["stand_in"] or d["name"] == "frames" for d in record["datasets"])
        for number, claim in enumerate(record["claims"], 1):
            where = f"{record['experiment']} C{number}"
            assert claim["verdict"] != "REFUTED" or claim["instead"], where


def test_a_record_that_was_changed_or_a_page_that_was_is_drift(tmp_path):
    shutil.copytree(ROOT / "experiments/records", tmp_path / "experiments/records")
    shutil.copyfile(ROOT / "README.md", tmp_path / "README.md")
    assert records.drift(tmp_path, catalog.load) == []
    path = next((tmp_path / "experiments/records").glob("*.json"))
    record = json.loads(path.read_text())
    record["claims"][0] |= {"verdict": "INCONCLUSIVE", "bounds": [-1, -1]}
    record["runs"][0]["history"]["test_loss"][-1] = 77
    path.write_text(json.dumps(record))
    told = records.drift(tmp_path, catalog.load)
    assert any("README.md" in line for line in told)
    assert any("C1 is judged otherwise today" in line for line in told)
    records.refresh(tmp_path)
    path.with_suffix(".png").unlink()
    assert any("picture is missing" in line for line in records.drift(tmp_path, catalog.load))


@pytest.mark.usefixtures("small")
def test_a_stand_ins_result_is_no_evidence(logdir, tmp_path):
    (result,) = log_reader.results(logdir, [catalog.load("alexnet_lr_decay")], refuse)
    with pytest.raises(experiments.UserError, match="no evidence"):
        records.write(result, tmp_path)


@pytest.mark.usefixtures("small")
def test_a_document_with_several_experiments_has_a_picture_of_them_all(logdir, tmp_path):
    names = ("alexnet_lr_decay", "alexnet_grouped", "alexnet_small_init")
    results = log_reader.results(logdir, [catalog.load(name) for name in names], refuse)
    (picture,) = plots.overviews(results, tmp_path).values()
    assert picture.read_bytes().startswith(b"\x89PNG")
