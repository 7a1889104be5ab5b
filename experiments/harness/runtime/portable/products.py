"""JAX's products and convolutions on a CPU, compiled by XLA itself in a form that never changes.

XLA hands both to Eigen or oneDNN, which choose kernels and cut sums by the processor's extensions,
caches and threads. With the flags of ``env_vars.PORTABLE`` it compiles one kind of product itself:
that of a matrix of rows and one of columns, each sum in the order of its terms.
``avoid_libraries`` replaces the translation of the two operations to XLA by such products. Forward
passes, gradients and batched programs of any model consist of these two operations, so that no
network, layer or loss has to know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import mlir

from experiments.harness.spec import UserError

COLUMNS = 128  # of a product; with more, the rows of its right matrix would evict each other
SCRATCH = 1 << 20  # elements of the patches that exist at a time
DEFAULT = {"precision": None, "preferred_element_type": None, "out_sharding": None}
LIBRARY_CALLS = (  # in lax.linalg
    "cholesky_p",
    "eig_p",
    "eigh_p",
    "hessenberg_p",
    "householder_product_p",
    "lu_p",
    "ormqr_p",
    "qr_p",
    "schur_p",
    "svd_p",
    "triangular_solve_p",
    "tridiagonal_p",
    "tridiagonal_solve_p",
)

compiled_p: Any = Primitive("compiled_product")  # of two matrices, which XLA compiles itself
Options = dict[str, Any]  # a primitive's parameters


def avoid_libraries() -> None:
    """Translate all later operations of this process without library calls, or refuse them."""
    lowerings: Any = {**mlir._lowerings, **mlir._platform_specific_lowerings["cpu"]}
    original = lowerings[lax.dot_general_p].rule

    def compile_product(context: Any, *operands: Any, **options: Any) -> Any:
        pair: Any = stablehlo.optimization_barrier(operands)
        (result,) = original(context, *pair, **options)
        return [stablehlo.optimization_barrier([result])]

    compiled_p.abstract_eval = lax.dot_general_p.abstract_eval
    mlir.register_lowering(compiled_p, compile_product, platform="cpu")
    for primitive, function in (
        (lax.dot_general_p, product),
        (lax.conv_general_dilated_p, convolution),
    ):
        lowering: Any = mlir.lower_fun(function, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform="cpu")
    for primitive in (*(getattr(lax.linalg, name) for name in LIBRARY_CALLS), lax.fft_p):
        mlir.register_lowering(primitive, _refuse, platform="cpu")


def _refuse(context: Any, *_: Any, **__: Any) -> Any:
    raise UserError(
        f"{context.primitive.name} calls a library whose bits depend on the processor; leave out "
        "--portable, or use an initializer or layer without it"
    )


def product(lhs: jax.Array, rhs: jax.Array, *, dimension_numbers: Any, **options: Any) -> jax.Array:
    """Compute ``lax.dot_general`` as products of matrices."""
    (lhs_contracted, rhs_contracted), (lhs_batch, rhs_batch) = dimension_numbers
    if lhs_batch:
        first = tuple(range(len(lhs_batch)))
        inner = [
            tuple(axis - sum(each < axis for each in batch) for axis in contracted)
            for contracted, batch in ((lhs_contracted, lhs_batch), (rhs_contracted, rhs_batch))
        ]
        lhs, rhs = jnp.moveaxis(lhs, lhs_batch, first), jnp.moveaxis(rhs, rhs_batch, first)
        shape = lhs.shape[: len(first)]
        each = partial(product, dimension_numbers=(tuple(inner), ((), ())), **options)
        pairs = [x.reshape(-1, *x.shape[len(first) :]) for x in (lhs, rhs)]
        results = lax.map(lambda pair: each(*pair), tuple(pairs))
        return results.reshape(*shape, *results.shape[1:])
    left, left_order, left_shape = _as_matrix(lhs, lhs_contracted)
    right, right_order, right_shape = _as_matrix(rhs, rhs_contracted)
    # Whichever order copies less: a matrix with its terms on the wrong axis is transposed.
    as_is = left.size * (left_order == 0) + right.size * (right_order == 1)
    swapped = left.size * (left_order == 1) + right.size * (right_order == 0)
    swapped += (left.size // left.shape[left_order]) * (right.size // right.shape[right_order])
    if as_is <= swapped:
        rows, columns = left if left_order else left.T, right.T if right_order else right
        result = _multiply(rows, columns, **options)
    else:
        rows, columns = right if right_order else right.T, left.T if left_order else left
        result = _multiply(rows, columns, **options).T
    # XLA would merge a transposition of a product into it, for which it needs a library. Two
    # negations keep them apart; the barrier hides until late that these change nothing.
    result = lax.neg(lax.optimization_barrier(lax.neg(result)))
    return result.reshape(*left_shape, *right_shape)


def _as_matrix(x: jax.Array, contracted: Sequence[int]) -> tuple[jax.Array, int, list[int]]:
    """Merge the contracted axes of ``x``, and the free ones.

    Returns the matrix, which of its axes is the contracted one, and the sizes of the free axes.
    """
    free = [axis for axis in range(x.ndim) if axis not in contracted]
    shape = [x.shape[axis] for axis in free]
    terms = math.prod(x.shape[axis] for axis in contracted)
    if free and min(contracted, default=0) < min(free):
        return x.transpose(*contracted, *free).reshape(terms, math.prod(shape)), 0, shape
    return x.transpose(*free, *contracted).reshape(math.prod(shape), terms), 1, shape


def _multiply(rows: jax.Array, columns: jax.Array, **options: Any) -> jax.Array:
    """Return the product of two matrices, computed ``COLUMNS`` columns at a time."""
    if len(rows) == 1:  # the product of a row is a library's, that of two is not
        return _multiply(jnp.pad(rows, ((0, 1), (0, 0))), columns, **options)[:1]
    bounds = [*range(COLUMNS, columns.shape[1], COLUMNS)]
    dimensions = (((1,), (0,)), ((), ()))
    return jnp.concatenate(
        [
            compiled_p.bind(rows, some, dimension_numbers=dimensions, **options)
            for some in jnp.split(columns, bounds, axis=1)
        ],
        axis=1,
    )


def convolution(lhs: jax.Array, rhs: jax.Array, **options: Any) -> jax.Array:
    """Compute ``lax.conv_general_dilated`` as products of patches, a few examples at a time."""
    spec = options["dimension_numbers"]
    for name, axis in (
        ("feature_group_count", spec.lhs_spec[1]),
        ("batch_group_count", spec.lhs_spec[0]),
    ):
        if (groups := options[name]) > 1:
            parts = zip(
                jnp.split(lhs, groups, axis), jnp.split(rhs, groups, spec.rhs_spec[0]), strict=True
            )
            results = [convolution(*part, **{**options, name: 1}) for part in parts]
            return lax.concatenate(results, spec.out_spec[1])
    shape = jax.eval_shape(partial(lax.conv_general_dilated_p.bind, **options), lhs, rhs).shape
    outputs = [shape[axis] for axis in spec.out_spec[2:]]
    padding: list[Any] = [(0, 0, 0)] * lhs.ndim
    for axis, (low, high), step in zip(
        spec.lhs_spec[2:], options["padding"], options["lhs_dilation"], strict=True
    ):
        padding[axis] = (low, high, step - 1)
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), padding)
    window = math.prod(rhs.shape[axis] for axis in spec.rhs_spec[2:])
    compute = _kernel_gradient if math.prod(outputs) < window else _forward
    return compute(padded, rhs, outputs, options)


def _forward(lhs: jax.Array, rhs: jax.Array, outputs: list[int], options: Options) -> jax.Array:
    """Multiply the patches at all outputs by the kernel."""
    (batch, channel, *space), (filters, inputs, *window), out_spec = options["dimension_numbers"]
    images = lhs.transpose(batch, *space, channel)
    kernel = rhs.transpose(*window, inputs, filters)
    *elements, _, _ = kernel.shape
    matrix = kernel.reshape(-1, kernel.shape[-1])

    def convolve(some: jax.Array) -> jax.Array:
        strides = options["rhs_dilation"], options["window_strides"]
        patches = _patches(some, 1, elements, outputs, *strides, into=some.ndim - 1)
        return _multiply(patches.reshape(-1, len(matrix)), matrix, **DEFAULT)

    per_example = math.prod(outputs) * len(matrix)
    groups = _groups(len(images), per_example)
    results = lax.map(convolve, images.reshape(groups, -1, *images.shape[1:]))
    result = results.reshape(len(images), *outputs, matrix.shape[1])
    return result.transpose(np.argsort([out_spec[0], *out_spec[2:], out_spec[1]]))


def _kernel_gradient(
    lhs: jax.Array, rhs: jax.Array, outputs: list[int], options: Options
) -> jax.Array:
    """Do the same for few outputs and a large window, as in the gradient of a kernel.

    Then the input channels are examples, the window is positions, the outputs are the elements of
    a kernel, and the batch is its channels.
    """
    (batch, channel, *space), (filters, inputs, *window), out_spec = options["dimension_numbers"]
    images = lhs.transpose(batch, channel, *space)
    gradients = rhs.transpose(inputs, *window, filters)
    examples, *positions, _ = gradients.shape
    channels = len(images)

    def add(total: jax.Array, group: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        some, some_gradients = group
        strides = options["window_strides"], options["rhs_dilation"]
        patches = _patches(some, 2, outputs, positions, *strides, into=0)
        matrix = some_gradients.reshape(-1, some_gradients.shape[-1])
        return total + _multiply(patches.reshape(-1, len(matrix)), matrix, **DEFAULT), None

    rows = math.prod(outputs) * channels
    groups = _groups(examples, rows * math.prod(positions))
    stacks = (
        jnp.moveaxis(images.reshape(channels, groups, -1, *images.shape[2:]), 1, 0),
        gradients.reshape(groups, -1, *gradients.shape[1:]),
    )
    total, _ = lax.scan(add, jnp.zeros((rows, gradients.shape[-1]), lhs.dtype), stacks)
    result = total.reshape(*outputs, channels, gradients.shape[-1])
    return result.transpose(np.argsort([*out_spec[2:], out_spec[0], out_spec[1]]))


def _groups(examples: int, elements: int) -> int:
    """Return into how many equal groups to divide examples of that many elements of patches."""
    fewest = min(examples, math.ceil(examples * elements / SCRATCH))
    return next(groups for groups in range(fewest, examples + 1) if examples % groups == 0)


def _patches(
    images: jax.Array,
    axis: int,
    sizes: Sequence[int],
    counts: Sequence[int],
    shift: Sequence[int],
    stride: Sequence[int],
    into: int,
) -> jax.Array:
    """Concatenate shifted copies of images along the axis ``into``, for all shifts in ``sizes``.

    A copy has ``counts`` elements along the axes from ``axis`` on, ``stride`` elements apart; the
    i-th begins at i times ``shift``.
    """
    for each in reversed(range(len(sizes))):
        length = (counts[each] - 1) * stride[each] + 1
        starts = range(0, sizes[each] * shift[each], shift[each])
        copies = [
            lax.slice_in_dim(images, start, start + length, stride[each], axis + each)
            for start in starts
        ]
        images = lax.concatenate(copies, into)
    return images
