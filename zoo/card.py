"""The description of a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A network's source, input, output and size, as ``build()`` without options returns it.

    ``input_shape`` is without the batch axis; ``parameters`` is the number of trainable parameters,
    ``flops`` the multiplications and additions of convolutions and dense layers for one example.
    ``trained`` lists the arms with recorded runs, as ``experiment/arm``: ``build`` takes them as
    ``weights``.
    """

    source: str
    input_shape: tuple[int, ...]
    output: str
    parameters: int
    flops: int
    trained: tuple[str, ...] = ()
