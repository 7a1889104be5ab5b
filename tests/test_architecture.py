"""Who may import whom, and how large a folder may be, read from the source files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("zoo/**/*.py"), *ROOT.glob("experiments/**/*.py")])
FOLDERS = sorted({path.parent for path in FILES})
MOST_FILES = 12  # that a reader takes in at a glance, __init__.py not counted
FREE = ("experiments/catalog",)  # folders that grow with the documents

# From the bottom up. A module imports from lower layers, and from its own folder.
LAYERS = (
    ("experiments.harness.spec",),
    ("experiments.harness.runtime",),
    ("experiments.harness.storage",),
    ("experiments.harness.data",),
    ("experiments.harness.model",),
    ("experiments.harness.telemetry",),
    ("experiments.harness.training", "experiments.harness.reporting"),
    ("experiments.harness.study",),
    (
        "experiments.verification",
        "experiments.debugging",
        "experiments.tuning",
        "experiments.benchmarks",
    ),
    ("experiments.auditing",),
)
USES_THE_PUBLIC_INTERFACE = {"experiments.benchmarks.startup_time"}  # times a user's script
COMMANDS = {f"experiments.{path.stem}" for path in ROOT.glob("experiments/*.py")}
BACKENDS = {"tensorflow", "jax", "torch"}
MAY_IMPORT_A_BACKEND = {
    "experiments.harness.runtime.backends",
    "experiments.harness.runtime.determinism",
    "experiments.harness.runtime.portable.products",
    "experiments.harness.runtime.tf_memory",
    "experiments.harness.data.keras_input",
    "experiments.harness.training.batched.jax_programs",
    "experiments.auditing.recording.evidence",
    "experiments.auditing.recording.internals",
    "experiments.auditing.recording.keras_hooks",
    "experiments.auditing.recording.loops",
    "experiments.auditing.recording.switches",
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def parsed(path: Path) -> list[ast.AST]:
    """Return the file's nodes, without those that only type checkers read."""
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [node for node in ast.walk(tree) if node not in skipped]


def imported(path: Path) -> set[str]:
    """Return every module or name that the file imports, wherever the import stands."""
    found: set[str] = set()
    for node in parsed(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> tuple[int, str] | None:
    """Return a module's layer and folder; None outside the layers."""
    for number, folders in enumerate(LAYERS):
        for folder in folders:
            if f"{name}.".startswith(f"{folder}."):
                return number, folder
    return None


def violations(name: str, names: set[str]) -> list[str]:
    """Return the imports of module ``name`` that go up, aside, or to a command or experiment."""
    own, found = layer(name), []
    for other in sorted(names):
        theirs = layer(other)
        upward = own and theirs and theirs[1] != own[1] and theirs[0] >= own[0]
        public = other == "experiments" and name in USES_THE_PUBLIC_INTERFACE
        outside = own and not theirs and other.startswith("experiments") and not public
        by_name = other.startswith("experiments.catalog.")
        from_zoo = name.startswith("zoo") and other.startswith("experiments")
        if upward or outside or by_name or from_zoo:
            found.append(f"{name} imports {other}")
    return found


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_down_the_layers(path):
    assert not violations(module(path), imported(path))


def test_an_upward_import_is_found():
    planted = {"experiments.harness.study.plan.plan_study"}
    assert violations("experiments.harness.storage.checkpoint", planted)
    assert violations("experiments.tuning.search", {"experiments.debugging.replay"})
    assert violations("experiments.harness.spec.run", {"experiments.reproduce.main"})
    assert not violations("experiments.harness.study.plan", {"experiments.harness.spec.Run"})


def test_no_modules_import_each_other_in_a_circle():
    names = {module(path) for path in FILES}
    imports = {
        module(path): {
            target
            for each in imported(path)
            for target in (each, each.rpartition(".")[0])
            if target in names and target != module(path)
        }
        for path in FILES
        if path.name != "__init__.py"
    }
    while leaves := {name for name, targets in imports.items() if not targets & imports.keys()}:
        imports = {name: targets for name, targets in imports.items() if name not in leaves}
    assert not imports, f"in or above a circle: {sorted(imports)}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_third_party_packages_stay_where_they_belong(path):
    name = module(path)
    packages = {each.split(".")[0] for each in imported(path)} - sys.stdlib_module_names
    if name.startswith("zoo"):
        assert packages <= {"keras", "numpy", "zoo"}
    if name.startswith("experiments.catalog.") or layer(name) == (0, LAYERS[0][0]):
        assert packages <= {"experiments"}
    if name.endswith("_loop"):  # written by hand, for one backend
        assert name.startswith("experiments.benchmarks.baselines.")
        assert len(packages & BACKENDS) == 1
        assert "keras" not in packages
    elif name not in MAY_IMPORT_A_BACKEND:
        assert not packages & BACKENDS


def test_private_modules_of_keras_stay_where_nothing_public_will_do():
    users = {module(path) for path in FILES if any("keras.src" in name for name in imported(path))}
    assert users == {
        "experiments.auditing.recording.internals",  # what a fit is fed, the global SeedGenerator
        "experiments.harness.data.batches",  # a data adapter without an order of its own
        "experiments.harness.model.training_state",  # the global SeedGenerator
        "experiments.harness.model.variables",  # the same
        "experiments.harness.training.scripts.fit_call",  # the data of a running fit
        "experiments.harness.training.scripts.opening",  # the seed of set_random_seed
    }


def test_only_one_module_uses_keras_conversion_to_numpy_which_makes_numpy_warn():
    name = "convert_to_numpy"
    files = [*FILES, *ROOT.glob("tests/**/*.py")]
    users = [path for path in files if any(name == getattr(n, "attr", "") for n in parsed(path))]
    assert [module(path) for path in users] == ["experiments.harness.model.variables"]


@pytest.mark.parametrize("path", [path for path in FILES if "catalog" in path.parts], ids=module)
def test_experiments_are_data_of_the_vocabulary(path):
    ours = {name for name in imported(path) if name.startswith("experiments")}
    assert all(name.startswith(LAYERS[0]) for name in ours)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_taken_in_at_a_glance(folder):
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES or str(folder.relative_to(ROOT)) in FREE


def test_every_layer_has_modules():
    found = {layer(module(path)) for path in FILES}
    assert {(n, folder) for n, folders in enumerate(LAYERS) for folder in folders} <= found
    assert len(COMMANDS) > 6
