"""Find the first nonfinite tensor of a step, and say why it is nonfinite. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from experiments.debugging.step_tensors import StepTensor
    from experiments.harness.training.stepper import Step

NanCause = dict[str, Any]
REASONS = {  # by the kind of tensor, unless the loss has a reason of its own
    "weight": "it was nonfinite before the step",
    "term": "the terms before it are finite",
    "loss": "its terms are finite, their sum is not",
    "gradient": "the whole forward pass is finite, a derivative is not",
    "update": "everything before it is finite if computed operation by operation",
}


def find_nan_cause(
    step: Step, tensors: Sequence[StepTensor], reasons: Mapping[str, str]
) -> NanCause | None:
    """Return the cause of a step's nonfinite tensors as JSON types; None if all are finite.

    ``tensors`` are those of ``step_tensors``, in order; ``reasons`` are the loss's own, by the name
    of a term or ``gradient``. The cause names the first nonfinite tensor, its operation, its first
    nonfinite element and the sample that the element belongs to. ``chain`` lists all nonfinite
    tensors from there on. ``compiled`` is the step's own loss, if it differs from the one computed
    operation by operation: XLA turns a product with a one-hot label into a selection, which skips
    ``0 * -inf``.
    """
    nonfinite = [tensor for tensor in tensors if not np.isfinite(tensor.value).all()]
    if not nonfinite:
        return None
    first = nonfinite[0]
    index = tuple(map(int, np.argwhere(~np.isfinite(first.value))[0]))
    cause: NanCause = {
        "tensor": first.name,
        "kind": first.kind,
        "operation": first.operation,
        "index": list(index),
        "value": float(first.value[index]),
        "nonfinite": _count_nonfinite(first),
        "size": first.value.size,
        "why": _reason(first, reasons),
        "chain": [_chain_link(tensor) for tensor in nonfinite],
    }
    if first.kind in ("activation", "term") or first.name == "each_sample":
        cause["sample"] = _sample(step, tensors, index[0])
    if first.kind == "term":
        cause["trace"] = _trace(tensors, first, index)
    losses = [tensor.value for tensor in tensors if (tensor.kind, tensor.name) == ("loss", "batch")]
    if any(_finiteness(float(loss)) != _finiteness(step.loss) for loss in losses):
        cause["compiled"] = step.loss
    return cause


def _finiteness(value: float) -> str:
    return "finite" if np.isfinite(value) else str(value)


def _count_nonfinite(tensor: StepTensor) -> int:
    return int((~np.isfinite(tensor.value)).sum())


def _reason(first: StepTensor, reasons: Mapping[str, str]) -> str:
    """Return why the first nonfinite tensor is so: the loss's own reason, if it has one."""
    if first.kind == "activation":
        ranges = ", ".join(_range(values) for values in first.inputs)
        result = "is inf" if np.isinf(first.value).any() else "is undefined"
        return f"from {ranges}, all finite, the result {result} in float32"
    name = first.name if first.kind == "term" else first.kind
    return reasons.get(name, REASONS[first.kind])


def _range(values: NDArray[Any]) -> str:
    return f"{list(values.shape)} between {values.min():.4g} and {values.max():.4g}"


def _chain_link(tensor: StepTensor) -> NanCause:
    return {
        "kind": tensor.kind,
        "tensor": tensor.name,
        "nonfinite": _count_nonfinite(tensor),
        "size": tensor.value.size,
    }


def _sample(step: Step, tensors: Sequence[StepTensor], position: int) -> NanCause:
    """Return the sample at a position of the batch, and the range of the network's output."""
    output = _network_output(tensors).value[position]
    largest, smallest = float(np.max(output)), float(np.min(output))
    return {
        "in_batch": position,
        "in_training_split": int(step.indices[position]),
        "label": step.batch[1][position].item(),
        "output_argmax": int(np.argmax(output)),
        "largest_output": largest,
        "smallest_output": smallest,
        "gap": largest - smallest,
    }


def _trace(tensors: Sequence[StepTensor], first: StepTensor, index: tuple[int, ...]) -> NanCause:
    """Return the values at ``index`` of the network's output and of the loss's inner terms.

    Tensors of another shape than ``first`` are left out.
    """
    terms = [tensor for tensor in tensors if tensor.kind == "term"]
    return {
        tensor.name: float(tensor.value[index])
        for tensor in [_network_output(tensors), *terms]
        if tensor.value.shape == first.value.shape
    }


def _network_output(tensors: Sequence[StepTensor]) -> StepTensor:
    return [tensor for tensor in tensors if tensor.kind == "activation"][-1]
