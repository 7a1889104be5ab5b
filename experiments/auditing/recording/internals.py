"""The few things that no public interface of Keras or TensorFlow offers, each with its reason.

``tests/auditing/test_recording.py`` notices when they change.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from experiments.auditing.recording.import_hooks import called_by_script

Called = Callable[[Any, Any, Any, Callable[[], Any]], Any]


class FedBatches:
    """An iterable whose batches are passed on to ``seen`` as they are taken."""

    def __init__(self, source: Any, seen: Callable[[Any], None]) -> None:
        self.source, self.seen = source, seen

    def __iter__(self) -> Iterator[Any]:
        # At once, not with the first batch: PyTorch's loader draws from its generator here.
        return self._pass_on(iter(self.source))

    def _pass_on(self, iterator: Iterator[Any]) -> Iterator[Any]:
        for batch in iterator:
            self.seen(batch)
            yield batch


def watch_epoch_iterators(new: Callable[[], Any], note: Callable[[str], None]) -> None:
    """Pass the batches and steps of a ``fit`` on to its training, which ``new()`` returns.

    ``new()`` returns None for an iterator that is not a training's. A public hook gives no batches:
    ``train_step`` sees symbolic tensors within a graph, and an argument of ``fit`` that is wrapped
    becomes another type, which Keras feeds in another way. So ``EpochIterator`` is followed, from
    which every backend takes its batches.
    """
    from keras.src.trainers.epoch_iterator import EpochIterator

    original = EpochIterator.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if training := new():
            _watch(self, training, note)

    EpochIterator.__init__ = init


def _watch(epoch_iterator: Any, training: Any, note: Callable[[str], None]) -> None:
    get_iterator, enumerate_steps = (
        epoch_iterator._get_iterator,
        epoch_iterator._enumerate_iterator,
    )

    def watched_iterator() -> Any:
        source, seen = get_iterator(), training.new_stream().add
        if not is_tensorflow_data(source):
            return FedBatches(source, seen)
        if not hasattr(source, "map"):
            note("batches under a tf.distribute strategy are not recorded")
            return source
        return _watched_dataset(source, seen)

    def watched_steps() -> Iterator[Any]:
        for begin, end, iterator in enumerate_steps():
            training.step_begins(end - begin + 1)
            yield begin, end, iterator

    epoch_iterator._get_iterator = watched_iterator
    epoch_iterator._enumerate_iterator = watched_steps


def is_tensorflow_data(source: Any) -> bool:
    """Return whether TensorFlow itself iterates over the source, within its graph."""
    return type(source).__module__.startswith("tensorflow.")


def _watched_dataset(dataset: Any, seen: Callable[[Any], None]) -> Any:
    """Return the dataset, with each element shown to ``seen`` when it is taken."""
    import tensorflow as tf

    def dense_parts(leaf: Any) -> list[Any]:
        parts = tf.nest.flatten(leaf, expand_composites=True)
        return [part for part in parts if getattr(part, "dtype", tf.variant) != tf.variant]

    def pass_on(*element: Any) -> Any:
        element = element if len(element) > 1 else element[0]
        parts = [dense_parts(leaf) for leaf in tf.nest.flatten(element)]

        def show(*arrays: Any) -> bool:
            remaining = iter(arrays)
            leaves = [[next(remaining) for _ in each] for each in parts]
            values = [leaf[0] if len(leaf) == 1 else leaf or None for leaf in leaves]
            seen(tf.nest.pack_sequence_as(element, values))
            return True

        shown = tf.numpy_function(show, [part for each in parts for part in each], tf.bool)
        with tf.control_dependencies([shown]):
            return tf.nest.map_structure(tf.identity, element, expand_composites=True)

    return dataset.map(tf.autograph.experimental.do_not_convert(pass_on))


def watch_functions(called: Called) -> None:
    """Pass each outermost call of a ``tf.function`` on to ``called``.

    Its arguments are the function, its positional and keyword arguments, and the call itself. An
    optimiser that is applied within a function runs no Python after the first call, and what
    ``tf.function`` returns has no hook.
    """
    from tensorflow.python.eager.polymorphic_function.polymorphic_function import Function

    original = Function.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return called(self, args, kwargs, lambda: original(self, *args, **kwargs))

    Function.__call__ = call


class Jitted:
    """A function compiled with ``jax.jit``, whose calls are passed on to ``called``."""

    def __init__(self, function: Any, called: Called) -> None:
        self.function, self.called = function, called
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.called(self, args, kwargs, lambda: self.function(*args, **kwargs))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:  # such as ``lower``
        return getattr(self.function, name)


def watch_jit(called: Called) -> None:
    """Pass each call of a function that the script compiles with ``jax.jit`` on to ``called``.

    What ``jax.jit`` returns is of a C++ class, which has no hook.
    """
    import jax

    original = jax.jit

    @functools.wraps(original)
    def jit(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        if not called_by_script():
            return made
        if args or "fun" in kwargs:
            return Jitted(made, called)
        return lambda function: Jitted(made(function), called)  # made is a decorator

    jax.jit = jit


def jax_arrays(value: Any, name: str = "") -> dict[str, Any]:
    """Return the arrays of a nested structure that have values, by where they are in it.

    Those that Keras's variables hold are not among them.
    """
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(value)
    return {
        name + jax.tree_util.keystr(path): leaf
        for path, leaf in leaves
        if hasattr(leaf, "shape") and is_concrete(leaf)
    }


@contextmanager
def outside_tracing() -> Iterator[None]:
    """Within the block, variables have their values, also while a function is traced."""
    if keras_backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            yield
        return
    from keras.src.backend.common import global_state

    scope = global_state.get_global_attribute("stateless_scope")
    global_state.set_global_attribute("stateless_scope", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("stateless_scope", scope)


def sync(model: Any) -> None:
    """Let the model's variables hold what they hold within a ``fit`` on JAX.

    Keras's own callbacks do so in the middle of an epoch, by the same method.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def generator_states() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the generators of Keras and TensorFlow that no model holds: a name, and its reader.

    The public functions that return them create them, which draws a seed.
    """
    import numpy as np
    from keras.src.backend.common import global_state

    generator = global_state.get_global_attribute("global_seed_generator")
    if generator is not None:
        yield "keras", lambda: generator.state.value
    if keras_backend() == "tensorflow":
        from tensorflow.python.eager import context
        from tensorflow.python.ops import stateful_random_ops

        operation_seeds = getattr(context.context(), "_rng", None)
        if operation_seeds is not None:  # the seeds of unseeded operations, after set_seed
            yield "tensorflow", lambda: np.array(operation_seeds.getstate()[1], "uint64")
        if (own := stateful_random_ops.global_generator) is not None:
            yield "tensorflow generator", lambda: own.state.numpy()


def keras_backend() -> str:
    """Return the name of the backend that the script uses; empty without Keras."""
    keras = sys.modules.get("keras")
    return keras.config.backend() if keras else ""


def is_concrete(tensor: Any) -> bool:
    """Return whether a tensor has a value now; a symbol within a compiled function has none."""
    import numpy as np

    if isinstance(tensor, int | float | np.ndarray | np.generic):
        return True
    tf: Any = sys.modules.get("tensorflow")
    if tf and isinstance(tensor, tf.Tensor | tf.Variable | tf.IndexedSlices):
        values = getattr(tensor, "values", tensor)
        return hasattr(values, "numpy") and not tf.is_symbolic_tensor(values)
    jax: Any = sys.modules.get("jax")
    if jax and isinstance(tensor, jax.Array):
        return not isinstance(tensor, jax.core.Tracer)
    torch: Any = sys.modules.get("torch")
    return bool(torch) and isinstance(tensor, torch.Tensor) and not hasattr(tensor, "fake_mode")
