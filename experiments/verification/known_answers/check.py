"""Run the programs as training does, and compare with the exact results.

Import it only after ``determinism.start()``: it imports keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from experiments.harness.model.gradients import GradientRecorder
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime import determinism
from experiments.verification.known_answers.bounds import TF32_INPUTS, Bounded, Range
from experiments.verification.known_answers.programs import Arrays, Program, programs
from experiments.verification.known_answers.references import Inputs, Results

Computed = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Finding:
    """How far an operation is from the exact results, at the element nearest or beyond its bound.

    ``wrong`` of the ``elements`` exceed their bounds. ``ulp`` is the error, ``bound`` its bound, in
    float32 units in the last place of the exact value; ``ulp`` is None if it is not finite.
    """

    operation: str
    result: str
    index: tuple[int, ...]
    ulp: float | None
    bound: float
    wrong: int
    elements: int


class Step(keras.layers.Layer):
    """A program's layer, with its input as a variable, its output recorded, and its loss."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        x, output = program.values["x"], program.cotangent
        self.x = self.add_weight(shape=x.shape, initializer="zeros", name="x")
        self.output_value = self.add_weight(
            shape=output.shape, initializer="zeros", trainable=False, name="output"
        )
        self.layer = program.layer()
        if not self.layer.built:
            self.layer.build(x.shape)
        self.built = True

    def call(self, cotangent):
        output = self.layer(ops.convert_to_tensor(self.x))
        self.output_value.assign(output)
        self.add_loss(ops.sum(output * cotangent))
        return output


def check() -> dict[str, Any]:
    """Run every program; return ``environment`` and, under ``operations``, a finding for each."""
    environment = determinism.environment()
    product_inputs = 0.0 if environment["device"] == "cpu" else TF32_INPUTS
    findings = [asdict(find(p, compute(p), product_inputs)) for p in programs()]
    return {"environment": environment, "operations": findings}


def compute(program: Program) -> Computed:
    """Return the results of an evaluation and of a training step, by name.

    Both are compiled as those of a run are.
    """
    step = Step(program)
    cotangent = keras.Input(batch_shape=program.cotangent.shape)
    model = keras.Model(cotangent, step(cotangent))
    optimizer = program.optimizer() if program.optimizer else GradientRecorder()
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    variables = {variable.name: variable for variable in model.variables}
    for variable in optimizer.variables:
        variables[variable.name.rpartition("_x_")[2]] = variable  # "momentum", "iteration"

    _assign(variables, program.values)
    results = {"output": np.asarray(model.predict_on_batch(program.cotangent))}
    _assign(variables, program.values)
    model.train_on_batch(program.cotangent)
    values = {name: to_numpy(variable) for name, variable in variables.items()}
    results["output in training"] = values.pop("output")
    if isinstance(optimizer, GradientRecorder):
        for variable, gradient in zip(model.trainable_variables, optimizer.recorded, strict=True):
            results[f"gradient of {variable.name}"] = to_numpy(gradient)
    return {**values, **results}


def _assign(variables: Mapping[str, Any], values: Arrays) -> None:
    for name, value in values.items():
        variables[name].assign(value)


def exact_results(program: Program, product_inputs: float = 0.0) -> Results:
    """Return the exact results, by name; the output occurs twice, as ``compute`` computes it."""
    values = {name: Bounded(value) for name, value in program.values.items()}
    exact = program.reference(Inputs(values, Bounded(program.cotangent), product_inputs))
    return {**exact, "output in training": exact["output"]} if "output" in exact else exact


def find(program: Program, computed: Computed, product_inputs: float = 0.0) -> Finding:
    """Compare with the exact results; return the finding at the worst of all values."""
    found = []
    for name, exact in exact_results(program, product_inputs).items():
        summed = name.removeprefix("sum of ")
        value = computed[summed].astype(np.float64)
        if summed != name:
            value = value.sum((1, 2))
        found.append(_compare(program.name, name, value, exact))
    _, worst = max(found, key=lambda item: item[0])
    return replace(
        worst,
        wrong=sum(finding.wrong for _, finding in found),
        elements=sum(finding.elements for _, finding in found),
    )


def _compare(
    operation: str, name: str, value: NDArray[np.float64], exact: Bounded | Range
) -> tuple[float, Finding]:
    """Return the largest error as a share of its bound, and the finding there."""
    exact = exact.nearest(value)
    assert value.shape == exact.value.shape, f"{name}: {value.shape}, not {exact.value.shape}"
    error = np.where(np.isfinite(value), np.abs(value - exact.value), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(error == 0, 0.0, error / exact.error)
    place = np.unravel_index(np.argmax(share), share.shape)
    unit = float(np.spacing(np.abs(exact.value[place]).astype(np.float32)))
    finding = Finding(
        operation,
        name,
        index=tuple(map(int, place)),
        ulp=float(error[place]) / unit if np.isfinite(error[place]) else None,
        bound=float(exact.error[place]) / unit,
        wrong=int((share > 1).sum()),
        elements=share.size,
    )
    return float(share[place]), finding
