"""The description of a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A network's source, input, output and size.

    ``input_shape`` is without the batch axis; ``parameters`` is the number of trainable parameters
    of ``build()`` without options.
    """

    source: str
    input_shape: tuple[int, ...]
    output: str
    parameters: int
