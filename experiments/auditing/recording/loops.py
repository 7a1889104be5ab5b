"""Follow the training loops that a script writes itself: at its optimisers, models and losses."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from experiments.auditing.recording import internals
from experiments.auditing.recording.checksums import batch_checksums
from experiments.auditing.recording.event_log import EventLog
from experiments.auditing.recording.import_hooks import script_line
from experiments.auditing.recording.state import Detail
from experiments.auditing.recording.trainings import StepTraining

Around = Callable[..., Any]  # called with the original, the object, and the arguments
MOST = 64  # inputs that are kept until the next step: a script may only predict


class LoopRecorder:
    """Makes a training of each loop: of what an optimiser, or a compiled function, is applied in.

    ``notes`` are lines about what could not be recorded.
    """

    def __init__(self, log: EventLog, detail: Detail | None) -> None:
        self.log, self.detail = log, detail
        self.notes: dict[str, None] = {}
        self.count = 0
        self.current = threading.local()  # within which method, and which optimiser's apply
        self.loops: weakref.WeakKeyDictionary[Any, StepTraining] = weakref.WeakKeyDictionary()
        self.steps: list[StepTraining] = []
        self.inputs: list[tuple[dict[str, str], int]] = []  # of the models called since a step
        self.called: dict[int, Any] = {}  # weak references to those models

    def note(self, line: str) -> None:
        """Keep a line about something that is not recorded."""
        self.notes.setdefault(line)

    @contextmanager
    def inside(self, what: str) -> Iterator[bool]:
        """Within the block, be within ``what``; yield whether this is its outermost block."""
        depth = getattr(self.current, what, 0)
        setattr(self.current, what, depth + 1)
        try:
            yield depth == 0
        finally:
            setattr(self.current, what, depth)

    def is_inside(self, what: str) -> bool:
        """Return whether this thread is within a block of ``inside(what)``."""
        return bool(getattr(self.current, what, 0))

    def new_number(self) -> int:
        """Return the number of the next training, from 1."""
        self.count += 1
        return self.count

    def loop_of(
        self, key: Any, kind: str, name: str, owners: list[Any], variables: Any = ()
    ) -> StepTraining:
        """Return the training that steps of ``key`` belong to; record its start if it is new."""
        training = self.loops.get(key)
        if training is None:
            training = self.loops[key] = StepTraining(self.log, self.new_number(), self.detail)
            self.steps.append(training)
            with self.log.recording():
                training.begin(kind, name, script_line())
                training.follow(owners, variables)
                training.record_start()
        else:
            training.follow(owners, variables)
        return training

    def model_called(self, original: Around, model: Any, args: Any, kwargs: Any) -> Any:
        """Keep a checksum of what a model is called with, outside Keras's loops."""
        if self.is_inside("keras") or self.is_inside("model") or not model.built:
            return original(model, *args, **kwargs)
        with self.log.recording():
            self.called[id(model)] = weakref.ref(model)
            self.keep_input((args, {k: v for k, v in kwargs.items() if k != "training"}))
        with self.inside("model"):
            return original(model, *args, **kwargs)

    def model_called_stateless(self, original: Around, model: Any, args: Any, kwargs: Any) -> Any:
        """Keep that a model is called with state of the script's own, as JAX needs it."""
        if not (self.is_inside("keras") or self.is_inside("model")):
            self.called[id(model)] = weakref.ref(model)
        with self.inside("model"):
            return original(model, *args, **kwargs)

    def loss_called(self, original: Around, loss: Any, args: Any, kwargs: Any) -> Any:
        """Keep a checksum of the labels that a loss is called with, outside Keras's loops."""
        if not self.is_inside("keras") and (args or "y_true" in kwargs):
            with self.log.recording():
                self.keep_input(kwargs.get("y_true", args[0] if args else None))
        return original(loss, *args, **kwargs)

    def keep_input(self, value: Any) -> None:
        """Keep a checksum of a structure of tensors, if they have values."""
        leaves = [leaf for leaf in flat(value) if hasattr(leaf, "shape")]
        if leaves and len(self.inputs) < MOST and all(map(internals.is_concrete, leaves)):
            self.inputs.append(batch_checksums({"inputs": leaves}))

    def take_inputs(self) -> tuple[dict[str, str], int]:
        """Return the checksums of what was kept since the last step, as those of one batch."""
        checksums = {
            f"input {number}: {name}": checksum
            for number, (parts, _) in enumerate(self.inputs, 1)
            for name, checksum in parts.items()
        }
        examples = sum(examples for _, examples in self.inputs) % 2**64
        self.inputs.clear()
        return checksums, examples

    def take_models(self) -> list[Any]:
        """Return the models that were called since the last step and still exist."""
        models = [model for ref in self.called.values() if (model := ref()) is not None]
        self.called.clear()
        return models

    def apply(self, original: Around, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Record a step of an optimiser that the script applies itself."""
        with self.inside("apply") as outermost:
            if not outermost or self.is_inside("keras"):
                return original(optimizer, *args, **kwargs)
            gradients = [g for g in flat(args[0] if args else kwargs.get("grads")) if g is not None]
            variables = args[1] if len(args) > 1 else kwargs.get("trainable_variables") or ()
            variables = list(variables)
            args = (args[0], variables, *args[2:]) if len(args) > 1 else args
            if not all(map(internals.is_concrete, gradients)):
                self.apply_is_traced(optimizer, variables)
                return original(optimizer, *args, **kwargs)
            with self.log.recording():
                owners = [*self.take_models(), optimizer]
            training = self.loop_of(optimizer, "apply", optimizer.name, owners, variables)
            result = original(optimizer, *args, **kwargs)
            with self.log.recording():
                training.step_ends(self.take_inputs(), None)
            return result

    def apply_is_traced(self, optimizer: Any, variables: list[Any]) -> None:
        """Record the start of a loop whose optimiser is applied within a compiled function."""
        function = getattr(self.current, "function", None)
        kind = "tf.function" if internals.keras_backend() == "tensorflow" else "jax.jit"
        if function is None:
            kind = "compiled"
            self.note(
                f"{script_line()}: {optimizer.name} is applied within a compiled function; its "
                "single steps are not recorded, only the weights before it and at the script's end"
            )
        with internals.outside_tracing():
            owners = [*self.take_models(), optimizer]
            self.loop_of(function or optimizer, kind, optimizer.name, owners, variables)

    def stateless_apply(self, original: Around, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Record a step whose state the script holds in tensors of its own."""
        with self.inside("apply") as outermost:
            result = original(optimizer, *args, **kwargs)
            if not outermost or self.is_inside("keras"):
                return result
            trainable, state = result
            if not all(map(internals.is_concrete, (*trainable, *state))):
                self.apply_is_traced(optimizer, [])
                return result
            training = self.loop_of(optimizer, "stateless_apply", optimizer.name, [optimizer])
            with self.log.recording():
                self.take_models()
                named = {f"trainable variable {n}": v for n, v in enumerate(trainable)}
                named |= {f"optimizer variable {n}": v for n, v in enumerate(state)}
                training.step_ends(self.take_inputs(), None, named)
            return result

    def function_called(
        self, function: Any, args: Any, kwargs: Any, call: Callable[[], Any]
    ) -> Any:
        """Record a call of a ``tf.function`` as a step, if an optimiser is applied within it."""
        if self.is_inside("keras") or getattr(self.current, "function", None) is not None:
            return call()
        self.current.function = function
        try:
            result = call()
        finally:
            self.current.function = None
        if (training := self.loops.get(function)) is not None:
            with self.log.recording():
                given = [leaf for leaf in flat((args, kwargs)) if hasattr(leaf, "shape")]
                returned = [leaf for leaf in flat(result) if hasattr(leaf, "shape")]
                self.take_inputs()
                training.step_ends(
                    batch_checksums({"argument": given}),
                    {f"result {n}": leaf for n, leaf in enumerate(returned)},
                )
        return result

    def torch_steps(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record the state before the first step of one of PyTorch's own optimisers."""
        if self.is_inside("keras"):
            return
        with self.log.recording():
            models = self.take_models()
        groups = () if models or optimizer in self.loops else optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        self.loop_of(optimizer, "torch.optim", type(optimizer).__name__, models, parameters)

    def torch_stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record a step of one of PyTorch's own optimisers, on any parameters."""
        if (training := self.loops.get(optimizer)) is not None and not self.is_inside("keras"):
            with self.log.recording():
                training.step_ends(self.take_inputs(), None)

    def script_ends(self) -> None:
        """Record the last state of the script's own loops."""
        with self.log.recording():
            for training in self.steps:
                training.ends()


def flat(value: Any) -> Iterator[Any]:
    """Yield the leaves of nested tuples, lists and mappings."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from flat(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from flat(each)
    else:
        yield value
