"""Follow what a script does with Keras: ``fit``, ``train_on_batch``, and its own loops."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from experiments.auditing.recording import internals
from experiments.auditing.recording.checksums import batch_checksums, to_array
from experiments.auditing.recording.event_log import EventLog
from experiments.auditing.recording.import_hooks import script_line
from experiments.auditing.recording.loops import Around, LoopRecorder
from experiments.auditing.recording.state import Detail, value
from experiments.auditing.recording.trainings import FitTraining

WHOLE = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


class Recorder(LoopRecorder):
    """Makes a training of each ``fit``, each model's ``train_on_batch``, and each loop."""

    def __init__(self, log: EventLog, detail: Detail | None) -> None:
        super().__init__(log, detail)
        self.fitting: FitTraining | None = None  # a fit whose iterator is still to be made
        # what compiled functions of JAX returned last: the state of a loop
        self.returned: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()

    def install(self) -> None:
        """Follow Keras's public methods, and the few private ones of ``internals``."""
        import keras

        for name in WHOLE:
            around = getattr(self, name, self.whole)
            replace(keras.Model, name, around)
        replace(keras.Model, "__call__", self.model_called)
        replace(keras.Model, "stateless_call", self.model_called_stateless)
        replace(keras.Loss, "__call__", self.loss_called)
        for optimizer in (keras.Optimizer, keras.optimizers.LossScaleOptimizer):
            replace(optimizer, "apply", self.apply)
            replace(optimizer, "stateless_apply", self.stateless_apply)
        internals.watch_epoch_iterators(self.take_fitting, self.note)
        if internals.keras_backend() == "tensorflow":
            internals.watch_functions(self.function_called)
        if internals.keras_backend() == "torch":
            from torch.optim import optimizer as torch_optimizer

            torch_optimizer.register_optimizer_step_pre_hook(self.torch_steps)
            torch_optimizer.register_optimizer_step_post_hook(self.torch_stepped)

    def install_jax(self) -> None:
        """Follow the functions that the script compiles with ``jax.jit``."""
        internals.watch_jit(self.jit_called)

    def whole(self, original: Around, model: Any, args: Any, kwargs: Any) -> Any:
        """Call a method of Keras that is not a training; what happens in it is not a step."""
        with self.inside("keras"):
            return original(model, *args, **kwargs)

    def fit(self, original: Around, model: Any, args: Any, kwargs: Any) -> Any:
        """Record a call of ``fit``, through a callback after the caller's own."""
        try:
            bound = inspect.signature(original).bind(model, *args, **kwargs)
        except TypeError:  # the original says it better
            return original(model, *args, **kwargs)
        training = FitTraining(self.log, self.new_number(), self.detail, model)
        with self.log.recording():
            epochs = int(bound.arguments.get("epochs", 1))
            training.begin("fit", model.name, script_line(), epochs=epochs)
        given = bound.arguments.get("callbacks")
        bound.arguments["callbacks"] = with_callback(given, callback(training))
        self.fitting = training
        try:
            with self.inside("keras"):
                result = original(*bound.args, **bound.kwargs)
        finally:
            self.fitting = None
        optimizer = getattr(model, "optimizer", None)
        if given or getattr(optimizer, "use_ema", False):
            training.ends()
        return result

    def take_fitting(self) -> FitTraining | None:
        """Return the ``fit`` that has just begun, once: its first iterator is the training's."""
        training, self.fitting = self.fitting, None
        return training

    def train_on_batch(self, original: Around, model: Any, args: Any, kwargs: Any) -> Any:
        """Record a call of ``train_on_batch`` as a step of the model's loop."""
        if self.is_inside("keras"):
            return original(model, *args, **kwargs)
        training = self.loop_of(model, "train_on_batch", model.name, [model])
        with self.inside("keras"):
            result = original(model, *args, **kwargs)
        with self.log.recording():
            given = inspect.signature(original).bind(model, *args, **kwargs).arguments
            data = tuple(given.get(name) for name in ("x", "y", "sample_weight"))
            training.step_ends(batch_checksums(data), as_logs(result))
        return result

    def jit_called(self, function: Any, args: Any, kwargs: Any, call: Callable[[], Any]) -> Any:
        """Record a call of a function of ``jax.jit`` as a step, if it applies an optimiser.

        Its state is what it returns. Its batch is each argument that is neither a variable nor of
        the last call's state, and is read before the call, which may donate its memory.
        """
        is_first = function not in self.returned
        is_outermost = getattr(self.current, "function", None) is None
        if self.is_inside("keras") or not is_outermost or not (is_first or function in self.loops):
            return call()
        with self.log.recording():
            state = {id(ref()) for ref in self.returned.get(function, ())}
            arrays = internals.jax_arrays((args, kwargs)).values()
            given = [leaf for leaf in arrays if id(leaf) not in state]
            if is_first:  # whether it takes a step, and its variables, are known after the call
                copies = [(id(leaf), to_array(leaf).copy()) for leaf in given]
            else:
                batch = batch_checksums({"argument": given})
        self.current.function = function
        try:
            result = call()
        finally:
            self.current.function = None
        with self.log.recording():
            returned = internals.jax_arrays(result, "result")
            self.returned[function] = [weakref.ref(leaf) for leaf in returned.values()]
            if (training := self.loops.get(function)) is not None and returned:
                if is_first:
                    held = {id(value(v)) for v in training.variables().values()}
                    left = [array for key, array in copies if key not in held]
                    batch = batch_checksums({"argument": left})
                self.take_inputs()
                training.step_ends(batch, None, returned)
        return result


def replace(owner: Any, name: str, around: Around) -> None:
    """Let ``around`` be called with the original method, the object and the arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(original, self, args, kwargs)

    setattr(owner, name, method)


def callback(training: FitTraining) -> Any:
    """Return the Keras callback that records a ``fit``."""
    import keras

    class AuditCallback(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            training.train_begins()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            training.epoch_begins()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            training.epoch_ends(epoch + 1, logs)

    if training.detail:  # a method for each batch would end Keras's asynchronous dispatch

        class DetailCallback(AuditCallback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                training.step_ends(batch + 1)

        return DetailCallback()
    return AuditCallback()


def with_callback(given: Any, own: Any) -> Any:
    """Return the caller's callbacks with ``own`` as the last of them."""
    import keras

    if isinstance(given, keras.callbacks.CallbackList):
        given.append(own)
        return given
    return [*(keras.tree.flatten(given) if given else ()), own]


def as_logs(result: Any) -> Mapping[str, Any]:
    """Return what ``train_on_batch`` returned by name."""
    if isinstance(result, Mapping):
        return result
    values = result if isinstance(result, list | tuple) else [result]
    return {f"metric {number}": value for number, value in enumerate(values)}
