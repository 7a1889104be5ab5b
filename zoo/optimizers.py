"""Optimizers for networks whose units stand for several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="zoo")
class AdamOfCopies(keras.optimizers.Adam):
    """Adam of a wide network with equal units, for its twin with one unit in their place.

    ``copies`` maps a variable's path, such as ``conv1/kernel``, to how many equal elements of the
    wide network each of its elements stands for; 1 if it is not named. Each of them has that part
    of the twin's gradient. Adam is blind to such a factor but for ``epsilon`` (and clipping and
    weight decay, which are not adapted), so that it is as small beside the twin's gradients as it
    is beside the wide network's. Raises ``ValueError`` for a path that no trained variable has.
    """

    def __init__(self, copies: Mapping[str, int], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.copies = dict(copies)

    def build(self, variables):
        if unknown := set(self.copies) - {variable.path for variable in variables}:
            raise ValueError(f"copies: no trained variable is called {unknown.pop()!r}")
        super().build(variables)
        self._counts = self._copies_of(variables)

    def apply(self, grads, trainable_variables=None):
        known = trainable_variables is None
        counts = self._counts if known else self._copies_of(trainable_variables)
        parts = [gradient / count for gradient, count in zip(grads, counts, strict=True)]
        super().apply(parts, trainable_variables)

    def _copies_of(self, variables) -> list[int]:
        return [self.copies.get(variable.path, 1) for variable in variables]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "copies": self.copies}
