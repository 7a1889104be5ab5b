"""Checksums of tensors, batches, logs and generators' states, as short hexadecimal strings."""

from __future__ import annotations

import hashlib
import random
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

CHECKSUM_DIGITS = 8  # of a batch's component
_MODULUS = 2**64


def to_array(value: Any) -> Any:
    """Return any backend's tensor as a NumPy array, without a copy where the backend allows."""
    import numpy as np

    if hasattr(value, "read_value"):  # TensorFlow's variable, of which NumPy makes a copy
        value = value.read_value()
    if hasattr(value, "detach"):  # PyTorch
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return value.float().numpy()
        return value.numpy()
    if str(getattr(value, "dtype", "")).startswith("key<"):  # JAX's typed keys
        value = sys.modules["jax"].random.key_data(value)
    return np.asarray(value)


def tensor_digest(value: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a tensor's type, shape and bytes."""
    array = to_array(value)
    hasher = hashlib.sha256(f"{array.dtype} {array.shape}\n".encode())
    hasher.update(_bytes(array))
    return hasher.hexdigest()[:16]


def batch_checksums(batch: Any) -> tuple[dict[str, str], int]:
    """Return a checksum for each component of a batch, and one of its set of examples.

    The components are x, y and sample_weight, or what they are nested of, such as ``x['image']``.
    The second is a sum over the examples, so it does not depend on their order.
    """
    import numpy as np

    parts = [(name, to_array(value)) for name, value in components(batch)]
    count = next((array.shape[0] for _, array in parts if array.ndim), 0)
    checksums, examples = {}, np.full(count, 0x9E3779B97F4A7C15, "uint64")
    for name, array in parts:
        rows = _row_checksums(array, count)
        head = f"{array.dtype} {array.shape}".encode()
        checksums[name] = f"{zlib.crc32(rows.tobytes(), zlib.crc32(head)):0{CHECKSUM_DIGITS}x}"
        if len(rows) == count:
            examples = _mixed(examples * np.uint64(31) + rows)
    return checksums, int(examples.sum(dtype="uint64")) % _MODULUS


def components(batch: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each tensor of a batch, in order."""
    if isinstance(batch, tuple | list) and 1 <= len(batch) <= 3:
        for name, part in zip(("x", "y", "sample_weight"), batch, strict=False):
            yield from _leaves(name, part)
    else:
        yield from _leaves("x", batch)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(f"{name}[{key!r}]", value[key])
    elif isinstance(value, tuple | list) and any(hasattr(each, "shape") for each in value):
        for index, each in enumerate(value):
            yield from _leaves(f"{name}[{index}]", each)
    elif value is not None:
        yield name, value


def _row_checksums(array: Any, count: int) -> Any:
    """Return the CRC-32 of each example, or of the whole array if it has no such axis."""
    import numpy as np

    if not (array.ndim and count and array.shape[0] == count):
        return np.array([zlib.crc32(_bytes(array))], "uint64")
    data = _bytes(array)
    size, whole = divmod(len(data), count)
    if whole:  # text of varying length
        return np.array([zlib.crc32(repr(row.tolist()).encode()) for row in array], "uint64")
    return np.array(
        [zlib.crc32(data[start : start + size]) for start in range(0, size * count, size)]
        if size
        else [0] * count,
        "uint64",
    )


def _mixed(values: Any) -> Any:
    """Return well mixed 64-bit integers, so that their sum stands for their set."""
    import numpy as np

    values = (values ^ (values >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(29))


def _bytes(array: Any) -> memoryview:
    """Return an array's bytes; those of a text for an array of objects."""
    import numpy as np

    if array.dtype.hasobject:
        return memoryview(repr(array.tolist()).encode())
    flat: Any = np.ascontiguousarray(array).reshape(-1).view("uint8")
    return memoryview(flat)


def log_values(logs: Mapping[str, Any] | None) -> dict[str, str]:
    """Return each metric as text that tells any two floats apart."""
    values = {}
    for name, value in (logs or {}).items():
        array = to_array(value)
        values[name] = repr(float(array)) if array.ndim == 0 else tensor_digest(array)
    return values


def global_generators() -> dict[str, str]:
    """Return a digest of the state of Python's, NumPy's and PyTorch's global generators.

    Of those that are imported. Nothing is drawn, created or imported.
    """
    states: dict[str, Any] = {"python": random.getstate()}
    if numpy_random := sys.modules.get("numpy.random"):
        states["numpy"] = numpy_random.get_state(legacy=False)
    digests = {
        name: hashlib.sha256(_text(state).encode()).hexdigest()[:16]
        for name, state in states.items()
    }
    torch = sys.modules.get("torch")
    if torch and hasattr(torch, "get_rng_state"):
        digests["torch"] = tensor_digest(torch.get_rng_state())
    return digests


def _text(state: Any) -> str:
    if isinstance(state, Mapping):
        return "".join(f"{key}:{_text(state[key])};" for key in state)
    return state.tobytes().hex() if hasattr(state, "tobytes") else repr(state)
