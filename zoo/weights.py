"""Trained weights of the networks: from a run's directory, or by the name of a recorded arm."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

RECORDS = Path(__file__).parents[1] / "experiments" / "records"
LOGS = Path("logs")
FIRST = ("full", "protocol", "mini")  # scales, in the order in which weights are looked for


def trained_arms(network: str) -> tuple[str, ...]:
    """Return the arms of a network with recorded runs, as ``experiment/arm``, sorted."""
    return tuple(sorted({run["names"][0] for run in _runs() if run["class_name"] == network}))


def find(weights: str | Path, network: str) -> Path:
    """Return the directory of the run that ``weights`` names: itself, or a recorded arm's in logs.

    Raises ``FileNotFoundError`` if the arm's run is not there: the message is the command that
    trains it and the fingerprint that comes out.
    """
    directory = Path(weights)
    if (directory / "run.json").is_file():
        return directory
    recorded = [run for run in _runs() if str(weights) in run["names"]]
    if not recorded:
        known = ", ".join(trained_arms(network)) or "none"
        raise FileNotFoundError(
            f"{weights} is no run's directory and no recorded arm; arms of {network}: {known}"
        )
    for run in recorded:
        found = LOGS / run["directory"]
        if (found / "model.keras").is_file() and _is_recorded(found, run):
            return found
    suggested = min(
        recorded,
        key=lambda run: (run["dataset"]["stand_in"], -FIRST.index(run["scale"]), run["seed"]),
    )
    raise FileNotFoundError(_recipe(suggested))


def options(directory: Path, network: str) -> dict[str, Any]:
    """Return the options with which a run built the network; ``ValueError`` for another one."""
    try:
        recorded = json.loads((directory / "run.json").read_text())["arm"]["network"]
        name, config = recorded["class_name"], dict(recorded["config"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{directory} holds no run of a network of the zoo: {error}") from None
    if name != network:
        raise ValueError(f"{directory} is a run of {name}, not of {network}")
    return config


def load(model: keras.Model, directory: Path) -> None:
    """Give a network the weights of the run in ``directory``; ``ValueError`` if they do not fit."""
    import keras

    path = directory / "model.keras"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} has no model.keras: train its run to its end first")
    saved = keras.saving.load_model(path, compile=False)
    values = {variable.path: variable for variable in saved.weights}
    for variable in model.weights:
        other = values.get(variable.path)
        if other is None or tuple(other.shape) != tuple(variable.shape):
            shape = None if other is None else tuple(other.shape)
            raise ValueError(
                f"the weights in {directory} do not fit: {variable.path} is {shape} there, "
                f"{tuple(variable.shape)} here; give no other options than the run's"
            )
    for variable in model.weights:
        variable.assign(values[variable.path].value)


@cache
def _runs() -> tuple[dict[str, Any], ...]:
    """Return the complete, unchanged runs of the records, full scale first, by seed."""
    found = [run for path in sorted(RECORDS.glob("*.json")) for run in _of_record(path)]
    return tuple(sorted(found, key=lambda run: (FIRST.index(run["scale"]), run["seed"])))


def _of_record(path: Path) -> Iterator[dict[str, Any]]:
    record = json.loads(path.read_text())
    for run in record["runs"]:
        if run["status"] != "complete" or run["changes"]:
            continue
        experiment, _, arm = run["home"].partition(":")
        yield {
            "names": (f"{experiment}/{arm}", f"{record['experiment']}/{run['arm']}"),
            "experiment": experiment,
            "arm": arm,
            "scale": record["scale"],
            "dataset": record["datasets"][0],
            "seed": run["seed"],
            "class_name": run["identity"]["network"]["class_name"],
            "fingerprint": run["fingerprint"],
            "environment": record["environment"],
            "directory": f"{experiment}/{record['scale']}/{arm}/seed{run['seed']}",
        }


def _is_recorded(directory: Path, recorded: Mapping[str, Any]) -> bool:
    """Return whether a run is complete, on the recorded data, and equal in the same environment."""
    try:
        run = json.loads((directory / "run.json").read_text())
    except (OSError, ValueError):
        return False
    if run["status"] != "complete":
        return False
    if run["dataset"]["sha256"] != recorded["dataset"]["sha256"]:
        return False
    same = run["environment"] == recorded["environment"]
    return not same or run["fingerprint"] == recorded["fingerprint"]


def _recipe(run: Mapping[str, Any]) -> str:
    environment = run["environment"]
    backend, where = (
        environment["backend"],
        f"{environment['device']}, {environment['threads']} threads",
    )
    dataset = run["dataset"]
    variable, flag = f"KERAS_BACKEND={backend} ", ""
    if str(environment.get("cpu")).startswith("portable-"):
        variable, flag, where = "", " --portable", environment["cpu"]
    flag += f" --data {dataset['name']}" * dataset["stand_in"]
    return (
        f"no weights of {run['names'][0]} in {LOGS}; train them with: "
        f"{variable}python -m experiments.reproduce {run['experiment']} --arm {run['arm']} "
        f"--seed {run['seed']} --scale {run['scale']}{flag}; fingerprint {run['fingerprint']} on "
        f"{backend} {environment['versions'].get(backend, '')}, {where}"
    )
