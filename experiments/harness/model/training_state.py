"""The whole training state of any Keras model: subclassed, stateful, with several optimisers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from numpy.typing import NDArray

from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime.backends import generator_state, restore_generator_state
from experiments.harness.spec import identity

GLOBAL_SEED = "generator/keras"  # the name of the global SeedGenerator's state
HOST_ONLY = "generator/"  # names that belong to no variable of the model
Slots = Mapping[str, Sequence[str]]  # by optimiser, the names of the variables it was built for


def variables(model: keras.Model) -> dict[str, Any]:
    """Return the variables that decide the next epochs, by path; metrics that fit resets do not.

    These are weights, seeds, moving averages, states of recurrent layers, metrics that are never
    reset, and all optimisers'. A path that several variables share is numbered: ``path#2``.
    """
    reset = {id(variable) for variable in model.metrics_variables}
    found = {id(v): v for v in _all_variables(model) if id(v) not in reset}.values()
    return dict(zip(identity.numbered(v.path for v in found), found, strict=True))


def optimizers(model: keras.Model) -> dict[str, Any]:
    """Return the optimisers of a model and its layers, by the attribute that holds them."""
    found: dict[str, Any] = {}
    known: set[int] = set()
    for layer in model._flatten_layers():
        own = {n: v for n, v in vars(layer).items() if not n.startswith("_self_")}  # TensorFlow's
        for name, value in own.items():
            for number, part in enumerate(_parts(value)):
                if isinstance(part, keras.optimizers.Optimizer) and id(part) not in known:
                    known.add(id(part))
                    prefix = "" if layer is model else f"{layer.name}."
                    found[f"{prefix}{name}{f'[{number}]' if part is not value else ''}"] = part
    return found


def slots(model: keras.Model) -> dict[str, list[str]]:
    """Return, for each optimiser that is built, the names of the variables it was built for."""
    names = {id(variable): name for name, variable in variables(model).items()}
    return {
        name: [names[id(v)] for v in optimizer._trainable_variables if id(v) in names]
        for name, optimizer in optimizers(model).items()
        if optimizer.built
    }


def build_optimizers(model: keras.Model, built_for: Slots) -> None:
    """Build the optimisers that a training would build in its first step, as ``slots`` says."""
    found = variables(model)
    for name, optimizer in optimizers(model).items():
        wanted = built_for.get(name, ())
        if wanted and not optimizer.built and all(each in found for each in wanted):
            optimizer.build([found[each] for each in wanted])


def read(model: keras.Model) -> dict[str, NDArray[Any]]:
    """Return the values of ``variables`` and of the generators outside of the model, by name."""
    values = {name: to_numpy(variable) for name, variable in variables(model).items()}
    values |= {name: np.array(state) for name, state in generator_state().items()}
    if generator := global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR):
        values[GLOBAL_SEED] = to_numpy(generator.state)
    return values


def write(model: keras.Model, values: Mapping[str, NDArray[Any]]) -> None:
    """Restore what ``read`` returned, generators of another backend or device excepted."""
    for name, variable in variables(model).items():
        variable.assign(values[name])
    write_generators(values)


def write_generators(values: Mapping[str, NDArray[Any]]) -> None:
    """Restore the generators outside of the model that ``read`` returned."""
    if GLOBAL_SEED in values:
        seed_generator.global_seed_generator().state.assign(values[GLOBAL_SEED])
    if generator_state().keys() <= values.keys():
        restore_generator_state(values)


def mismatch(model: keras.Model, values: Mapping[str, NDArray[Any]]) -> str:
    """Return how the variables differ from those of ``values`` in number or shape; '' if nowhere.

    A variable that only one of the two has, or has in another shape, is named.
    """
    here = {name: tuple(variable.shape) for name, variable in variables(model).items()}
    there = {name: v.shape for name, v in values.items() if not name.startswith(HOST_ONLY)}
    for name in [*there, *here]:
        if here.get(name) != there.get(name):
            return f"{name} ({there.get(name, 'absent')} there, {here.get(name, 'absent')} here)"
    return ""


def _all_variables(model: keras.Model) -> Iterable[Any]:
    layers = model._flatten_layers()
    yield from model.variables
    for layer in layers:
        for metric in getattr(layer, "_metrics", ()):
            yield from metric.variables
        for state in keras.tree.flatten(getattr(layer, "states", None)):
            if isinstance(state, keras.Variable):
                yield state
    for optimizer in optimizers(model).values():
        yield from optimizer.variables


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)
