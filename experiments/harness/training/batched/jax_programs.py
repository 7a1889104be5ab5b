"""A training step, compiled once for all runs of a group. Imports JAX, whose Keras it needs.

``InTurn`` steps one member after the other, which is the fastest way on a CPU: there XLA makes
grouped convolutions of batched ones, and runs what stands within a loop on one thread.
``AtOnce`` batches the members and loops over an interval's steps, all in one program.
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

STEPS = 25  # between two looks at whether an interrupt came
# Values of variables: those trained, others, the optimiser's, metrics'; as in Keras's own steps.
ModelState = tuple[list[Any], list[Any], list[Any], list[Any]]


class Program(Protocol):
    """Both functions map the members' states, in order, to what they are afterwards."""

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        """Take an interval's steps; ``indices`` are each member's examples, steps by batch.

        The values in ``states`` are used up.
        """

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        """Evaluate the test split."""


def get_state(model: keras.Model) -> ModelState:
    """Return the values of a compiled model's variables."""
    trained, others, optimizers, metrics = (
        [variable.value for variable in variables] for variables in _variables(model)
    )
    return trained, others, optimizers, metrics


def set_state(model: keras.Model, state: ModelState) -> None:
    """Give a model's variables the values in ``state``."""
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
    """The members' steps, one member after the other."""

    def __init__(self, model: keras.Model, dataset: Dataset, arm: Arm) -> None:
        self.dataset = dataset
        size, tested = arm.test_batch, dataset.test(slice(arm.test_examples))
        begins = range(0, len(tested[0]), size)
        self.tested = [tuple(part[begin : begin + size] for part in tested) for begin in begins]
        self.train_step = jax.jit(model.train_step, donate_argnums=0)
        self.test_step = jax.jit(model.test_step)

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        return [self._trained(*member) for member in zip(states, indices, strict=True)]

    def _trained(self, state: ModelState, indices: NDArray[np.int64]) -> ModelState:
        for chosen in indices:
            signals.raise_if_interrupted()
            _, state = self.train_step(state, self.dataset.train(chosen))
        return state

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        return [self._tested(*state) for state in states]

    def _tested(self, trained: Any, others: Any, optimizers: Any, metrics: Any) -> ModelState:
        for batch in self.tested:
            signals.raise_if_interrupted()
            _, (trained, others, metrics) = self.test_step((trained, others, metrics), batch)
        return trained, others, optimizers, metrics


class VmapProgram:
    """All members' steps at once, an interval's within one loop.

    ``places`` are where the members stand among ``size`` that the program is compiled for; the
    first one stands in for those that are missing.
    """

    def __init__(
        self, model: keras.Model, dataset: Dataset, arm: Arm, places: Sequence[int], size: int
    ) -> None:
        self.model, self.batch = model, arm.test_batch
        self.places = places
        self.filled = [places.index(place) if place in places else 0 for place in range(size)]
        self.examples = jax.device_put(dataset.train(slice(None)))
        self.tested = jax.device_put(dataset.test(slice(arm.test_examples)))
        self.steps = jax.jit(jax.vmap(self._steps, (0, 0, None, None, None)), donate_argnums=0)
        self.evaluation = jax.jit(jax.vmap(self._evaluation, (0, None)), donate_argnums=0)
        self.joined, self.split = jax.jit(self._joined), jax.jit(self._split)

    def train(
        self, states: Sequence[ModelState], indices: Sequence[NDArray[np.int64]]
    ) -> list[ModelState]:
        state = self.joined(states)
        chosen = np.stack([indices[member] for member in self.filled]).astype(np.int32)
        for begin in range(0, chosen.shape[1], STEPS):
            signals.raise_if_interrupted()
            end = min(begin + STEPS, chosen.shape[1])
            state = jax.block_until_ready(self.steps(state, chosen, begin, end, self.examples))
        return self.split(state)

    def test(self, states: Sequence[ModelState]) -> list[ModelState]:
        return self.split(self.evaluation(self.joined(states), self.tested))

    def _steps(self, state: Any, indices: Any, begin: int, end: int, examples: Any) -> Any:
        def step(number: Any, state: Any) -> Any:
            batch = tree.map(lambda part: part[indices[number]], examples)
            return self.model.train_step(state, batch)[1]

        return lax.fori_loop(begin, end, step, state)  # its end a value: one program for all

    def _evaluation(self, state: Any, examples: Any) -> Any:
        trained, others, optimizers, metrics = state
        whole, rest = divmod(len(examples[0]), self.batch)

        def step(number: Any, state: Any, size: int = self.batch) -> Any:
            batch = tree.map(
                lambda part: lax.dynamic_slice_in_dim(part, number * self.batch, size), examples
            )
            return self.model.test_step(state, batch)[1]

        state = (trained, others, metrics)
        if whole:  # what is not done is traced all the same
            state = lax.fori_loop(0, whole, step, state)
        trained, others, metrics = step(whole, state, rest) if rest else state
        return trained, others, optimizers, metrics

    def _joined(self, states: Sequence[ModelState]) -> Any:
        chosen = [states[member] for member in self.filled]
        return tree.map(lambda *parts: jax.numpy.stack(parts), *chosen)

    def _split(self, state: Any) -> list[ModelState]:
        return [tree.map(itemgetter(place), state) for place in self.places]
