"""Which tensor of a step stopped being finite first, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from experiments.debugging.step_tensors import StepTensor
    from experiments.harness.training.stepper import Step

NanCause = dict[str, Any]


def find_nan_cause(
    step: Step, made: Sequence[StepTensor], reasons: Mapping[str, str]
) -> NanCause | None:
    """Return what became of the step's tensors, as JSON types; None where all are finite.

    ``made`` in order (``inspection.inspect``); ``reasons`` are the loss's own, by the name of a
    term or ``gradient``. Names the first tensor that is not finite, the operation that made it, its
    first such element, and the sample that this belongs to; ``chain`` lists all that are not finite
    from there on. ``compiled`` is the step's own loss, where it is another one than operation by
    operation: XLA makes a choice of a product with a one-hot label, which passes over 0 * -inf.
    """
    broken = [tensor for tensor in made if not np.isfinite(tensor.value).all()]
    if not broken:
        return None
    first = broken[0]
    where = tuple(map(int, np.argwhere(~np.isfinite(first.value))[0]))
    story: NanCause = {
        "tensor": first.name,
        "kind": first.kind,
        "operation": first.operation,
        "index": list(where),
        "value": float(first.value[where]),
        "nonfinite": int((~np.isfinite(first.value)).sum()),
        "size": first.value.size,
        "why": _why(first, reasons),
        "chain": [_short(tensor) for tensor in broken],
    }
    if first.kind in ("activation", "term") or first.name == "each_sample":
        story["sample"] = _sample(step, made, where[0])
    if first.kind == "term":
        story["trace"] = _trace(made, first.value, where)
    losses = [tensor.value for tensor in made if (tensor.kind, tensor.name) == ("loss", "batch")]
    if any(_kind(float(loss)) != _kind(step.loss) for loss in losses):
        story["compiled"] = step.loss
    return story


def _kind(value: float) -> str:
    return "finite" if np.isfinite(value) else str(value)


def _why(first: StepTensor, reasons: Mapping[str, str]) -> str:
    """Return the reason: the loss's own where it has one, else from what the tensor was made."""
    if first.kind == "weight":
        return "it was so before the step"
    if first.kind == "activation":
        ranges = [_range(source) for source in first.sources]
        what = "is inf" if np.isinf(first.value).any() else "has no defined value"
        return f"from {', '.join(ranges)}, all finite, the result {what} in float32"
    own = reasons.get(first.name if first.kind == "term" else first.kind)
    return (
        own
        or {
            "term": "the terms before it are finite",
            "loss": "its terms are finite, their sum is not",
            "gradient": "all is finite forward, a derivative is not",
            "update": "all before it is finite when each operation is computed by itself",
        }[first.kind]
    )


def _range(values: NDArray[Any]) -> str:
    return f"{list(values.shape)} between {values.min():.4g} and {values.max():.4g}"


def _short(tensor: StepTensor) -> NanCause:
    count = int((~np.isfinite(tensor.value)).sum())
    return {
        "kind": tensor.kind,
        "tensor": tensor.name,
        "nonfinite": count,
        "size": tensor.value.size,
    }


def _sample(step: Step, made: Sequence[StepTensor], place: int) -> NanCause:
    """Return which example it is, and the range of what the network says of it."""
    output = [tensor.value for tensor in made if tensor.kind == "activation"][-1][place]
    largest, smallest = float(np.max(output)), float(np.min(output))
    return {
        "in_batch": place,
        "in_training_split": int(step.indices[place]),
        "label": step.batch[1][place].item(),
        "output_argmax": int(np.argmax(output)),
        "largest_output": largest,
        "smallest_output": smallest,
        "gap": largest - smallest,
    }


def _trace(made: Sequence[StepTensor], broken: NDArray[Any], where: tuple[int, ...]) -> NanCause:
    """Return the values at the same place of the network's output and of the loss's terms.

    Of those that have the broken term's shape.
    """
    output = [tensor for tensor in made if tensor.kind == "activation"][-1]
    terms = [output, *(tensor for tensor in made if tensor.kind == "term")]
    return {
        tensor.name: float(tensor.value[where])
        for tensor in terms
        if tensor.value.shape == broken.shape
    }
