"""What a network says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A network's card: where it comes from, what it takes, how large it is.

    ``parameters`` counts the trainable parameters of ``build()`` without options.
    """

    source: str
    input_shape: tuple[int, ...]
    output: str
    parameters: int
