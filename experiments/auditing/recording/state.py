"""The state of a training: its variables by path, and on request their digests after each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.auditing.recording import internals
from experiments.auditing.recording.checksums import global_generators, tensor_digest, to_array
from experiments.auditing.recording.event_log import EventLog
from experiments.harness.spec import identity

Variables = dict[str, Any]


class Detail:
    """What is to be recorded step by step: an epoch of a fit, or a range of a loop's steps.

    Each step's tensors are saved in ``folder`` while they fit in ``budget`` bytes together. With
    the digests of another process's steps as ``reference``, only those of the first step that
    differs are saved, and the process ends.
    """

    def __init__(
        self,
        training: int,
        folder: str,
        epoch: int | None = None,
        first: int = 0,
        last: int = 0,
        budget: int = 1 << 29,
        reference: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.training, self.folder, self.epoch = training, Path(folder), epoch
        self.first, self.last = first, last
        self.budget, self.reference = budget, reference

    def record(self, log: EventLog, step: int | str, variables: Variables) -> None:
        """Record all variables after a step."""
        digests = {path: tensor_digest(value(v)) for path, v in variables.items()}
        log.write("detail", training=self.training, step=step, tensors=digests)
        differs = self.reference is not None and digests != self.reference.get(str(step))
        if differs or self.reference is None:
            self._save(step, variables)
        if differs:
            log.stop()

    def _save(self, step: int | str, variables: Variables) -> None:
        import numpy as np

        arrays = {path: storable(to_array(value(v))) for path, v in variables.items()}
        self.budget -= sum(array.nbytes for array in arrays.values())
        if self.budget >= 0 or self.reference is not None:
            np.savez(self.folder / f"{step}.npz", **arrays)


def training_variables(owners: Iterable[Any], variables: Iterable[Any] = ()) -> Variables:
    """Return the variables of models and optimisers, without metrics, by path; then the others.

    A path that several variables share is numbered: ``path#2``.
    """
    found: list[Any] = []
    for owner in owners:
        metrics = {id(v) for v in getattr(owner, "metrics_variables", ())}
        found += [v for v in as_list(owner.variables) if id(v) not in metrics]
        for optimizer in optimizers_of(owner):
            found += as_list(optimizer.variables)
    distinct = {id(v): v for v in (*found, *variables)}.values()
    paths = identity.numbered(getattr(v, "path", None) or "variable" for v in distinct)
    return dict(zip(paths, distinct, strict=True))


def is_deleted(variable: Any) -> bool:
    """Return whether the memory of a variable was donated to a function of JAX."""
    held = value(variable)
    return hasattr(held, "is_deleted") and bool(held.is_deleted())


def as_list(variables: Any) -> list[Any]:
    """Return the variables that an attribute or, in older optimisers, a method gives."""
    return list(variables() if callable(variables) else variables)


def optimizers_of(owner: Any) -> list[Any]:
    """Return the optimisers that a model holds, also under names of its own."""
    import keras

    held = {id(each): each for each in vars(owner).values()}
    compiled = getattr(owner, "optimizer", None)
    return [
        each
        for each in ({id(compiled): compiled} | held).values()
        if isinstance(each, keras.optimizers.Optimizer)
    ]


def value(variable: Any) -> Any:
    """Return what the backend holds of a variable of Keras; a plain tensor as it is."""
    import keras

    return variable.value if isinstance(variable, keras.Variable) else variable


def size(variable: Any) -> int:
    """Return how many elements a variable has."""
    count = 1
    for length in variable.shape:
        count *= length or 0
    return count


def storable(array: Any) -> Any:
    """Return an array that an ``.npz`` file keeps: float32 for the types that NumPy lacks."""
    return array if array.dtype.kind in "fiub" else array.astype("float32")


def generators() -> dict[str, str]:
    """Return the digests of all global generators, those of the libraries and of Keras."""
    tensors: Iterable[tuple[str, Callable[[], Any]]] = internals.generator_states()
    return {**global_generators(), **{name: tensor_digest(get()) for name, get in tensors}}
