"""The call of ``fit`` that a callback belongs to: its other callbacks and its data."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.data_adapters.torch_data_loader_adapter import TorchDataLoaderAdapter

from experiments.harness.data.batches import Batches, hash_arrays
from experiments.harness.data.keras_input import redrawn_parts
from experiments.harness.spec import UserError

USE_BATCHES = "experiments.Batches resumes exactly"


@dataclass(frozen=True)
class FitCall:
    """A running call of ``fit``.

    ``callbacks`` is Keras's list of callbacks, ``epochs`` iterates over the data of each epoch,
    ``arguments`` are the local variables of ``fit``.
    """

    callbacks: keras.callbacks.CallbackList
    epochs: Any
    arguments: dict[str, Any]

    @property
    def batches(self) -> Batches | None:
        """The data, if they are ``Batches``."""
        adapter = self.epochs.data_adapter
        return adapter if isinstance(adapter, Batches) else None

    @property
    def keeps_iterator(self) -> bool:
        """Whether one iterator over the data goes on from epoch to epoch."""
        return self.epochs.steps_per_epoch is not None

    def element_spec(self) -> Any:
        """Return types and shapes of a batch on TensorFlow."""
        return self.epochs._distributed_dataset.element_spec

    def data_identity(self) -> dict[str, Any]:
        """Return what is known of the training data, as JSON types."""
        adapter = self.epochs.data_adapter
        if isinstance(adapter, Batches):
            return adapter.identity()
        known: dict[str, Any] = {"kind": type(adapter).__name__.removesuffix("Adapter")}
        if isinstance(adapter, ArrayDataAdapter):
            known |= {"content": hash_arrays(_without_none(adapter._inputs))}
            known |= {"batch_size": adapter.batch_size, "shuffle": bool(adapter._shuffle)}
        elif isinstance(adapter, PyDatasetAdapter):
            known |= {"class": type(adapter.py_dataset).__qualname__}
        return known

    def inexact_data(self) -> str:
        """Return why the order of the data cannot be resumed exactly; '' if it can."""
        adapter, on_tensorflow = self.epochs.data_adapter, keras.backend.backend() == "tensorflow"
        if isinstance(adapter, Batches):
            return ""
        if isinstance(adapter, TorchDataLoaderAdapter):
            workers = getattr(adapter._dataloader, "num_workers", 0)
            reason = "a DataLoader with workers draws in other processes" if workers else ""
        elif isinstance(adapter, PyDatasetAdapter):
            reason = _inexact_py_dataset(adapter.py_dataset)
        elif isinstance(adapter, TFDatasetAdapter):
            parts = redrawn_parts(adapter._dataset)
            reason = f"the tf.data.Dataset draws anew or may do so: {', '.join(parts)}"
            reason = reason if parts else ""
        elif isinstance(adapter, ArrayDataAdapter):
            drawn = adapter._shuffle and on_tensorflow
            reason = "TensorFlow shuffles arrays with a generator that cannot be saved"
            reason = f"{reason}; shuffle=False is exact" if drawn else ""
        else:
            return f"a generator's position cannot be restored; {USE_BATCHES}"
        if (
            not reason
            and self.keeps_iterator
            and self.epochs.steps_per_epoch != adapter.num_batches
        ):
            reason = "with steps_per_epoch the position in the data is lost"
        return f"{reason}; {USE_BATCHES}" if reason else ""


def find_fit(callback: keras.callbacks.Callback) -> FitCall:
    """Return the call of ``fit`` that is calling ``callback``; ``UserError`` if there is none."""
    frame, callbacks = inspect.currentframe(), None
    while frame:
        local = frame.f_locals
        owner = local.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            if any(each is callback for each in owner.callbacks):
                callbacks = owner
        elif callbacks is not None and "epoch_iterator" in local and owner is callback.model:
            return FitCall(callbacks, local["epoch_iterator"], dict(local))
        frame = frame.f_back
    raise UserError(f"{type(callback).__name__} works only among the callbacks of Keras's fit")


def _inexact_py_dataset(dataset: keras.utils.PyDataset) -> str:
    hooks = ("on_epoch_begin", "on_epoch_end")
    base = keras.utils.PyDataset
    own = [name for name in hooks if getattr(type(dataset), name) is not getattr(base, name)]
    if own:
        return f"what {type(dataset).__name__}.{own[0]} changes cannot be restored"
    if dataset.workers > 1 or dataset.use_multiprocessing:
        return "a PyDataset with workers may draw in another order"
    return ""


def _without_none(parts: Any) -> Any:
    return [part for part in keras.tree.flatten(parts) if part is not None]
