"""Who may import whom, read from the imports themselves."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("zoo/**/*.py"), *ROOT.glob("experiments/**/*.py")])
ROOMS = ("catalog", "harness", "forensics", "search", "joblist", "peers")
BACKENDS = {"tensorflow", "jax", "torch"}
OWN = ("determinism", "memory", "together.programs")
BACKENDS_OWN = tuple(f"experiments.harness.{name}" for name in OWN)
PLAIN = tuple(f"experiments.harness.{name}" for name in ("spec", "panels", "space", "measures"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def parsed(path: Path) -> list[ast.AST]:
    """Return the file's nodes, but for what only type checkers see."""
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [node for node in ast.walk(tree) if node not in skipped]


PURE = tuple(
    module(path)
    for path in FILES
    if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")
)


def imported(path: Path) -> set[str]:
    """Return every module named in an import statement, wherever it stands in the file."""
    found: set[str] = set()
    for node in parsed(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


DOORS = tuple(module(path) for path in ROOT.glob("experiments/*.py") if path.stem != "__init__")


def test_there_is_something_to_read():
    rooms = {module(path).rpartition(".")[0] for path in FILES}
    ours = {f"experiments.{room}" for room in ROOMS}
    assert {"zoo", "experiments", *ours} <= rooms


@pytest.mark.parametrize("path", FILES, ids=module)
def test_every_import_goes_the_way_of_the_house(path):
    name, names = module(path), imported(path)
    theirs = tops(path) - sys.stdlib_module_names
    if name.startswith("zoo"):
        assert theirs <= {"keras", "numpy", "zoo"}
    if name.startswith("experiments.catalog.") or name in PLAIN:
        ours = {other for other in names if other.startswith("experiments")}
        assert theirs <= {"experiments"}
        assert all(other.startswith(PLAIN) for other in ours)
    if name.startswith(tuple(f"experiments.{room}." for room in ROOMS if room != "catalog")):
        assert not any(other.startswith(("experiments.catalog", *DOORS)) for other in names)
    if name.startswith("experiments.harness."):
        rooms = tuple(f"experiments.{room}" for room in ROOMS if room not in ("catalog", "harness"))
        assert not any(other.startswith(rooms) for other in names)
    if not name.startswith("experiments.peers") and name != "experiments.benchmark":
        assert not any(other.startswith("experiments.peers") for other in names)
    if name in PURE:
        assert theirs <= {"experiments", "numpy"}
        assert not names & {"os", "pathlib", "time", "random", "subprocess"}
        ours = {other for other in names if other.startswith("experiments.")}
        assert all(other.startswith((*PLAIN, *PURE)) for other in ours)
    if name not in BACKENDS_OWN and not name.endswith("_loop"):
        assert not theirs & BACKENDS
    if name.endswith("_loop"):  # written by hand, for one backend
        assert name.startswith("experiments.peers.")
        assert len(theirs & BACKENDS) == 1
        assert "keras" not in theirs
    assert not any(other.startswith("experiments.catalog.") for other in names), "found by name"
