"""Experiments outside of the catalogue: the commands, their identity, and what is refused."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import experiments
from experiments import replay, report, reproduce, tune, verify
from experiments.harness.storage import run_record, source_code
from tests.helpers import own_experiment
from tests.helpers.own_experiment import QUIET, SMALL, write_example

ONE = ["--arm", "without", "--seed", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the page's example, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path)
    with own_experiment.as_new_process(tmp_path):
        yield tmp_path


def refused(capsys, main, *argv):
    """Return the one line with which a command refuses its arguments."""
    code = main([*argv])
    error = capsys.readouterr().err.strip().splitlines()
    assert (code, len(error)) == (2, 1), error
    return error[0]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_pages_example_in_real_processes(folder, monkeypatch, capsys):
    """Two workers train it, report judges it, and elsewhere a fresh process repeats a run."""
    for old, new in (("steps=40", "steps=2"), ("intervals=5", "intervals=2")):
        edit(folder / "digits8.py", old, new)
    assert reproduce.main(["digits8.py", "--seed", "0", "--jobs", "2", *QUIET]) == 0
    runs = {path.parent.parent.name: path.parent for path in folder.rglob("run.json")}
    assert {*runs} == {"with_dropout", "without"}
    record = run_record.read(runs["with_dropout"])
    assert [*record.spec.code] == ["digits8.py", "digits8_code.py"]
    assert record.spec.dataset["stand_in"] is False
    assert record.history["learning_rate"][-1] == pytest.approx(3e-3, rel=1e-2)
    capsys.readouterr()
    assert report.main(["digits8.py", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["experiment"], len(result["runs"])) == ("digits8", 2)
    assert report.main([]) == 2
    assert "left out: logs/digits8, of your own; name its file" in capsys.readouterr().err
    assert "--record is for the catalogue" in refused(capsys, report.main, "digits8.py", "--record")
    own_experiment.forget(folder)
    monkeypatch.chdir("/")
    assert verify.main([str(runs["with_dropout"])]) == 0
    assert "identical" in capsys.readouterr().out


def test_every_command_takes_the_file_and_changed_code_is_another_run(folder, capsys):
    argv = ["digits8.py", *ONE, *SMALL]
    assert reproduce.main(argv) == 0
    (run,) = folder.rglob("run.json")
    first = run_record.read(run.parent).fingerprint
    own_experiment.forget(folder)
    capsys.readouterr()
    assert replay.main([str(run.parent), "--step", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact"] is True
    assert tune.main(["digits8.py", "--dry-run", "--space", "network.filters=[2, 4]"]) == 0
    assert "network.filters" in capsys.readouterr().out
    overrides = {"steps": 2, "intervals": 2, "test_examples": 20}
    options = {"arms": "without", "seeds": 0, "overrides": overrides, "telemetry_every": 0}
    (again,) = experiments.run(folder / "digits8.py", **options, logdir=folder / "other").runs
    assert again.fingerprint == first

    edit(folder / "digits8_code.py", "images / 16", "images / 17")
    assert refused(capsys, reproduce.main, *argv) == (
        f"reproduce: {folder}/digits8_code.py has changed since it was imported; start a new "
        "process"
    )
    own_experiment.forget(folder)
    assert "the code of digits8_code.py has changed" in refused(capsys, reproduce.main, *argv)
    own_experiment.forget(folder)
    line = refused(capsys, replay.main, str(run.parent), "--step", "1")
    assert "digits8_code.py has changed since the run was trained" in line


def test_what_the_modules_import_from_the_folder_counts_too(folder):
    edit(folder / "digits8_code.py", "import numpy as np", "import numpy as np\nimport pack.part")
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "part.py").write_text("from . import other\nimport json\n")
    (folder / "pack" / "other.py").write_text("")
    (folder / "not_used.py").write_text("")
    experiments.load("digits8.py")
    code = source_code.digests(folder, [folder / "digits8.py", "digits8_code"])
    assert [*code] == [
        "digits8.py", "digits8_code.py", "pack/__init__.py", "pack/other.py", "pack/part.py"
    ]  # fmt: skip


def test_a_module_of_a_package_and_npz_data_of_any_shape(folder):
    """Coloured bytes that are not square, one-hot labels of 3 classes, a network of the zoo."""
    package = folder / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    text = (folder / "digits8.py").read_text()
    text = text.replace("digits8_code:load", "coloured.npz")
    text = text.replace(
        'config("digits8_code:build", filters=16, dropout=0.5)',
        'config("deep_cnn", depth=2, width=4, input_shape=(12, 10, 3), classes=3)',
    )
    text = text.replace("SparseCategorical", "Categorical").replace('"network.dropout": 0.0', "")
    (package / "coloured.py").write_text(text)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (30, 12, 10, 3), dtype="uint8")
    y = np.eye(3, dtype="int64")[generator.integers(0, 3, 30)]
    np.savez(package / "coloured.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    argv = ["my_package.coloured", "--arm", "with_dropout", "--seed", "0", *SMALL]
    assert reproduce.main(argv) == 0
    (run,) = folder.rglob("run.json")
    record = run_record.read(run.parent)
    assert (record.status, [*record.spec.code]) == (
        "complete",
        ["my_package/__init__.py", "my_package/coloured.py"],
    )
    assert 0 <= record.history["test_accuracy"][-1] <= 1
    assert replay.main([str(run.parent), "--step", "1", "--images", "batch.png"]) == 0
    assert Path("batch.png").stat().st_size


@pytest.mark.parametrize(
    ("edited", "argv", "message"),
    [
        (None, ["absent.py"], "there is no file absent.py"),
        (None, ["digits8"], "unknown experiment 'digits8'; for the file here, write digits8.py"),
        (None, ["my_package.absent"], "my_package.absent cannot be found: ModuleNotFoundError"),
        (("EXPERIMENT = Experiment(", "EXPERIMENT = (("), [], "SyntaxError: "),
        (("EXPERIMENT =", "OTHER ="), [], "digits8.py: it defines no EXPERIMENT"),
        (("EXPERIMENT = ", "EXPERIMENT = 3 or "), [], "EXPERIMENT is of type int"),
        (("digits8_code:load", "no_module:load"), [], "there is no module no_module"),
        (("digits8_code:load", "digits8_code:lode"), [], "digits8_code.py has no function 'lode'"),
        (("digits8_code:load", "absent.npz"), [], "there is no file"),
        (("digits8_code:load", "cifar"), [], "unknown dataset 'cifar'; available: mnist, frames"),
        (("digits8_code:build", "digits8_code:load"), [], "the arm cannot be built"),
        (("filters=16", "filter=16"), [], "unexpected keyword argument 'filter'"),
        (("CosineDecay", "CosineDekay"), [], "the arm cannot be built"),
    ],
)
def test_a_refusal_is_one_line(folder, capsys, edited, argv, message):
    if edited:
        edit(folder / "digits8.py", *edited)
    line = refused(capsys, reproduce.main, *(argv or ["digits8.py", *ONE, *SMALL]))
    assert message in line
    assert not [*folder.rglob("run.json")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return x[:1500], labels[:1500]", "return labels, labels", "examples of two kinds"),
        ("return x[:1500], labels[:1500]", "return x[:1500], labels[:1499]", "1500 examples, but"),
        ("return x[:1500], ", "return ", "returned a tuple of 3, not x_train"),
        ("return x[:1500], labels[:1500], x[1500:], labels[1500:]", "return None", "nothing, not"),
        ("images / 16", "images / 16 + np.nan", "x_train has values that are not finite"),
        ("images, labels =", "images, labels, more =", "digits8_code:load failed: ValueError"),
        ("Dense(10)", "Dense(9)", "labels go from 0 to 9, but the network has 9 outputs"),
        ("Input((8, 8, 1))", "Input((8, 8, 3))", "the network takes"),
        ("import numpy as np", "import numpy as np\nimport absent", "No module named 'absent'"),
        ("return keras.Sequential(", "return (", "returned no keras.Model but an object of list"),
        ("keras.Input((8, 8, 1)),", "", "returned no functional or Sequential model of one Input"),
    ],
)
def test_code_that_does_not_do_its_part_is_refused_in_one_line(folder, capsys, old, new, message):
    edit(folder / "digits8_code.py", old, new)
    line = refused(capsys, reproduce.main, "digits8.py", *ONE, *SMALL)
    assert re.search(message, line), line
    assert not [*folder.rglob("run.json")]


def test_an_experiment_that_imports_keras_too_early_is_told_so(folder, monkeypatch):
    edit(folder / "digits8.py", "with_dropout = Arm(", "import keras\nwith_dropout = Arm(")
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.syspath_prepend(folder / "fake")
    (folder / "fake").mkdir()
    (folder / "fake" / "keras.py").write_text("")
    with pytest.raises(experiments.UserError, match="imports keras, too early"):
        experiments.load("digits8.py")


def test_the_catalogues_names_are_its_own(folder):
    (folder / "digits8.py").rename(folder / "constant_init.py")
    with pytest.raises(experiments.UserError, match="the catalogue has another constant_init"):
        experiments.load(f"{folder}{os.sep}constant_init.py")
