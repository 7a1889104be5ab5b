"""Programs that train and evaluate a batch of runs, compiled once. JAX only.

``SequentialProgram`` steps one member after the other. That is faster on a CPU, where XLA turns
batched convolutions into grouped ones and runs a loop's body on one thread. ``VmapProgram`` batches
the members and loops over an interval's steps, all in one program.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Protocol

import jax
import keras
import numpy as np
from jax import lax, tree
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import signals
from experiments.harness.spec import Arm

STEPS = 25  # between two checks for an interrupt
# Values of trainable, non-trainable, optimiser and metrics variables, as Keras's steps take them.
ModelState = tuple[list[Any], list[Any], list[Any], list[Any]]


class Program(Protocol):
    """Maps the members' states, in order, to their next states."""

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        """Take an interval's steps, and consume the values in ``states``.

        ``indices`` holds each member's examples, ``(steps, batch)``.
        """

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        """Evaluate the test split, and consume the values in ``states``."""


def get_state(model: keras.Model) -> ModelState:
    """Return the values of a compiled model's variables."""
    trainable, non_trainable, optimizer, metrics = (
        [variable.value for variable in variables] for variables in _variables(model)
    )
    return trainable, non_trainable, optimizer, metrics


def set_state(model: keras.Model, state: ModelState) -> None:
    """Assign the values in ``state`` to the model's variables."""
    for variables, values in zip(_variables(model), state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _variables(model: keras.Model) -> tuple[list[Any], ...]:
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


class SequentialProgram:
    """Steps one member after the other."""

    def __init__(self, model: keras.Model, dataset: Dataset, arm: Arm) -> None:
        self.dataset = dataset
        size, arrays = arm.test_batch, dataset.test(slice(arm.test_examples))
        starts = range(0, len(arrays[0]), size)
        self.test_batches = [
            tuple(array[start : start + size] for array in arrays) for start in starts
        ]
        self.train_step = jax.jit(model.train_step, donate_argnums=0)
        self.test_step = jax.jit(model.test_step)

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        return [self._train_one(*member) for member in zip(states, indices, strict=True)]

    def _train_one(self, state: ModelState, indices: NDArray[np.int64]) -> ModelState:
        for batch in indices:
            signals.raise_if_interrupted()
            _, state = self.train_step(state, self.dataset.train(batch))
        return state

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        return [self._test_one(*state) for state in states]

    def _test_one(
        self, trainable: Any, non_trainable: Any, optimizer: Any, metrics: Any
    ) -> ModelState:
        state = (trainable, non_trainable, metrics)
        for batch in self.test_batches:
            signals.raise_if_interrupted()
            _, state = self.test_step(state, batch)
        trainable, non_trainable, metrics = state
        return trainable, non_trainable, optimizer, metrics


class VmapProgram:
    """Steps all members at once, in a loop over an interval's steps.

    The program is compiled for ``size`` members. ``places`` are the positions of those present;
    the first of them also fills the other positions.
    """

    def __init__(
        self, model: keras.Model, dataset: Dataset, arm: Arm, places: Sequence[int], size: int
    ) -> None:
        self.model, self.batch = model, arm.test_batch
        self.places = places
        self.members = [places.index(place) if place in places else 0 for place in range(size)]
        self.examples = jax.device_put(dataset.train(slice(None)))
        self.test_examples = jax.device_put(dataset.test(slice(arm.test_examples)))
        self.steps = jax.jit(jax.vmap(self._steps, (0, 0, None, None, None)), donate_argnums=0)
        self.evaluate = jax.jit(jax.vmap(self._evaluate, (0, None)), donate_argnums=0)
        self.stack, self.unstack = jax.jit(self._stack), jax.jit(self._unstack)

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        state = self.stack(states)
        stacked = np.stack([indices[member] for member in self.members]).astype(np.int32)
        steps = stacked.shape[1]
        for start in range(0, steps, STEPS):
            signals.raise_if_interrupted()
            end = min(start + STEPS, steps)
            state = jax.block_until_ready(self.steps(state, stacked, start, end, self.examples))
        return self.unstack(state)

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        return self.unstack(self.evaluate(self.stack(states), self.test_examples))

    def _steps(self, state: Any, indices: Any, start: int, end: int, examples: Any) -> Any:
        def step(number: Any, state: Any) -> Any:
            batch = tree.map(lambda array: array[indices[number]], examples)
            return self.model.train_step(state, batch)[1]

        # The bounds are traced values, so that one program serves every number of steps.
        return lax.fori_loop(start, end, step, state)

    def _evaluate(self, state: Any, examples: Any) -> Any:
        trainable, non_trainable, optimizer, metrics = state
        whole, rest = divmod(len(examples[0]), self.batch)

        def step(number: Any, state: Any, size: int = self.batch) -> Any:
            batch = tree.map(
                lambda array: lax.dynamic_slice_in_dim(array, number * self.batch, size), examples
            )
            return self.model.test_step(state, batch)[1]

        state = (trainable, non_trainable, metrics)
        if whole:  # even a loop without iterations would be traced
            state = lax.fori_loop(0, whole, step, state)
        trainable, non_trainable, metrics = step(whole, state, rest) if rest else state
        return trainable, non_trainable, optimizer, metrics

    def _stack(self, states: Sequence[ModelState]) -> Any:
        members = [states[member] for member in self.members]
        return tree.map(lambda *values: jax.numpy.stack(values), *members)

    def _unstack(self, state: Any) -> list[ModelState]:
        return [tree.map(itemgetter(place), state) for place in self.places]
