"""JAX's products and convolutions on a CPU with sums in an order that no processor changes.

XLA hands both to Eigen, which sums blocks of terms, cut by the size of the caches. Up to ``TERMS``
terms are one block on every processor with AVX2. So ``cut_contractions`` replaces the translation
of the two operations to XLA: a longer sum becomes parts of at most that many terms, added in order.
Forward passes, gradients and batched programs of any model consist of these two operations: no
network, layer or loss has to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import mlir

TERMS = 256
SCRATCH = 1 << 20  # elements of the patches that exist at a time

Options = dict[str, Any]  # a primitive's parameters


def cut_contractions() -> None:
    """Cut all products and convolutions over more than ``TERMS`` terms in this process."""
    _replace(lax.dot_general_p, _product_terms, cut_product)
    _replace(lax.conv_general_dilated_p, _convolution_terms, cut_convolution)


def _replace(
    primitive: Any, terms: Callable[[Any, Any, Options], int], cut: Callable[..., jax.Array]
) -> None:
    """Translate ``primitive`` to XLA by ``cut`` if it sums more than ``TERMS`` terms."""
    lowerings: Any = {**mlir._lowerings, **mlir._platform_specific_lowerings["cpu"]}
    whole = lowerings[primitive].rule

    def translate(context: Any, *operands: Any, **options: Any) -> Any:
        lhs, rhs = context.avals_in
        if terms(lhs, rhs, options) <= TERMS:
            return whole(context, *operands, **options)
        function = mlir.lower_fun(partial(cut, **options), multiple_results=False)
        return function(context, *operands)

    mlir.register_lowering(primitive, translate, platform="cpu")


def _product_terms(lhs: Any, _: Any, options: Options) -> int:
    (contracted, _), _ = options["dimension_numbers"]
    return math.prod(lhs.shape[axis] for axis in contracted)


def _convolution_terms(_: Any, rhs: Any, options: Options) -> int:
    return math.prod(rhs.shape[axis] for axis in options["dimension_numbers"].rhs_spec[1:])


def even_parts(count: int, most: int) -> tuple[int, int]:
    """Return into how many parts to cut ``count`` things, and the size of each, at most ``most``.

    If up to twice the fewest possible parts can be equal, they are; else the last one is smaller.
    """
    fewest = math.ceil(count / most)
    equal = (parts for parts in range(fewest, 2 * fewest + 1) if count % parts == 0)
    parts = next(equal, fewest)
    return parts, math.ceil(count / parts)


def cut_product(
    lhs: jax.Array, rhs: jax.Array, *, dimension_numbers: Any, **options: Any
) -> jax.Array:
    """Compute ``lax.dot_general`` as a batch of products, summed over the batch."""
    (lhs_contracted, rhs_contracted), (lhs_batch, rhs_batch) = dimension_numbers
    lhs, lhs_axis, lhs_free = _merge_axes(lhs, lhs_contracted, lhs_batch)
    rhs, rhs_axis, rhs_free = _merge_axes(rhs, rhs_contracted, rhs_batch)
    batch = range(len(lhs_batch))
    products = lax.dot_general_p.bind(
        _split_axis(lhs, lhs_axis),
        _split_axis(rhs, rhs_axis),
        dimension_numbers=(
            ((lhs_axis + 1,), (rhs_axis + 1,)),
            ((lhs_axis, *batch), (rhs_axis, *batch)),
        ),
        **options,
    )
    result = products.sum(axis=0)
    return result.reshape(*result.shape[: len(batch)], *lhs_free, *rhs_free)


def _merge_axes(
    x: jax.Array, contracted: Sequence[int], batch: Sequence[int]
) -> tuple[jax.Array, int, list[int]]:
    """Move the batch axes of ``x`` to the front, and merge the contracted and the free axes.

    Returns the array, its contracted axis, and the sizes of the free axes.
    """
    free = [axis for axis in range(x.ndim) if axis not in (*contracted, *batch)]
    batch_shape, free_shape = [x.shape[axis] for axis in batch], [x.shape[axis] for axis in free]
    terms = math.prod(x.shape[axis] for axis in contracted)
    if free and min(contracted) < min(free):  # keep the order in memory
        order, shape, position = (*contracted, *free), (terms, -1), 0
    else:
        order, shape, position = (*free, *contracted), (-1, terms), 1
    merged = x.transpose(*batch, *order).reshape(*batch_shape, *shape)
    return merged, len(batch) + position, free_shape


def _split_axis(x: jax.Array, axis: int) -> jax.Array:
    """Split an axis of terms into parts and their terms, after filling it up with zeros."""
    terms = x.shape[axis]
    parts, size = even_parts(terms, TERMS)
    padding = [(0, (parts * size - terms) * (each == axis), 0) for each in range(x.ndim)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), padding)
    return padded.reshape(*x.shape[:axis], parts, size, *x.shape[axis + 1 :])


def cut_convolution(lhs: jax.Array, rhs: jax.Array, **options: Any) -> jax.Array:
    """Compute ``lax.conv_general_dilated`` in parts.

    Raises ``NotImplementedError`` for a window of over ``TERMS`` elements with even more outputs.
    """
    spec = options["dimension_numbers"]
    for name, axis in (
        ("feature_group_count", spec.lhs_spec[1]),
        ("batch_group_count", spec.lhs_spec[0]),
    ):
        if (groups := options[name]) > 1:
            return _by_groups(lhs, rhs, axis, groups, {**options, name: 1})
    window = math.prod(rhs.shape[axis] for axis in spec.rhs_spec[2:])
    if math.prod(_output_shape(lhs, rhs, options)) < window:  # then it is a kernel's gradient
        return _by_examples(lhs, rhs, options)
    if window > TERMS:
        raise NotImplementedError(f"no portable convolution has a window of {window} elements")
    return _by_channels(lhs, rhs, TERMS // window, options)


def _output_shape(lhs: jax.Array, rhs: jax.Array, options: Options) -> tuple[int, ...]:
    """Return the sizes of a convolution's spatial output axes."""
    shape = jax.eval_shape(partial(lax.conv_general_dilated_p.bind, **options), lhs, rhs).shape
    return tuple(shape[axis] for axis in options["dimension_numbers"].out_spec[2:])


def _by_groups(
    lhs: jax.Array, rhs: jax.Array, axis: int, groups: int, options: Options
) -> jax.Array:
    """Convolve each group by itself."""
    spec = options["dimension_numbers"]
    pairs = zip(jnp.split(lhs, groups, axis), jnp.split(rhs, groups, spec.rhs_spec[0]), strict=True)
    results = [lax.conv_general_dilated_p.bind(*pair, **options) for pair in pairs]
    return lax.concatenate(results, spec.out_spec[1])


def _by_channels(lhs: jax.Array, rhs: jax.Array, most: int, options: Options) -> jax.Array:
    """Add the convolutions of at most ``most`` input channels each, in order."""
    spec = options["dimension_numbers"]
    lhs_axis, rhs_axis = spec.lhs_spec[1], spec.rhs_spec[1]
    channels = rhs.shape[rhs_axis]
    _, size = even_parts(channels, most)
    bounds = [*range(size, channels, size)]
    parts = zip(jnp.split(lhs, bounds, lhs_axis), jnp.split(rhs, bounds, rhs_axis), strict=True)
    first, *others = (lax.conv_general_dilated_p.bind(*part, **options) for part in parts)
    return sum(others, first)


def _by_examples(lhs: jax.Array, rhs: jax.Array, options: Options) -> jax.Array:
    """Compute the gradient of a kernel as products of patches, a few examples at a time.

    Examples take the place of input channels here, positions that of the window, elements of the
    kernel that of positions, and channels that of examples.
    """
    (channel, example, *space), (filters, same_example, *window), out_spec = options[
        "dimension_numbers"
    ]
    kernel = _output_shape(lhs, rhs, options)
    images = lhs.transpose(example, *space, channel)
    gradients = rhs.transpose(same_example, *window, filters)
    dilation = zip(options["padding"], options["lhs_dilation"], strict=True)
    padding = [(0, 0, 0), *((low, high, step - 1) for (low, high), step in dilation), (0, 0, 0)]
    images = lax.pad(images, jnp.zeros((), lhs.dtype), padding)

    examples, *positions, _ = gradients.shape
    patch_elements = math.prod(positions) * math.prod(kernel) * images.shape[-1]
    groups, size = even_parts(examples, max(1, SCRATCH // patch_elements))
    size = size if groups * size == examples else 1
    axes = tuple(range(len(kernel) + 1))

    def add(total: jax.Array, group: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        some_images, some_gradients = group
        shifted = _shifts(some_images, kernel, positions, options)
        patches = lax.concatenate(list(shifted), len(kernel) + 1)
        return total + lax.dot_general(patches, some_gradients, ((axes, axes), ((), ()))), None

    zeros = jnp.zeros((math.prod(kernel) * images.shape[-1], gradients.shape[-1]), lhs.dtype)
    stacks = tuple(x.reshape(-1, size, *x.shape[1:]) for x in (images, gradients))
    total, _ = lax.scan(add, zeros, stacks)
    result = total.reshape(*kernel, images.shape[-1], gradients.shape[-1])
    return result.transpose(*np.argsort([*out_spec[2:], out_spec[0], out_spec[1]]))


def _shifts(
    images: jax.Array, kernel: Sequence[int], positions: Sequence[int], options: Options
) -> Iterator[jax.Array]:
    """Yield what each element of a kernel sees of padded images, at all positions."""
    strides = options["rhs_dilation"]
    for element in np.ndindex(*kernel):
        starts = [i * step for i, step in zip(element, options["window_strides"], strict=True)]
        stops = [
            start + (count - 1) * stride + 1
            for start, count, stride in zip(starts, positions, strides, strict=True)
        ]
        yield lax.slice(
            images, (0, *starts, 0), (len(images), *stops, images.shape[-1]), (1, *strides, 1)
        )
