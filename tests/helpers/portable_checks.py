"""What the portable profile computes, beside the same in float64; called in a portable process."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.spec import UserError
from experiments.verification.known_answers.bounds import gamma
from tests.helpers.corrupted_runs import TINY

Array = NDArray[Any]
PRODUCTS: tuple[tuple[Any, tuple[int, ...], tuple[int, ...]], ...] = (  # dimension numbers, shapes
    ((((1,), (0,)), ((), ())), (7, 1000), (1000, 5)),
    ((((1,), (0,)), ((), ())), (1, 997), (997, 300)),
    ((((1,), (0,)), ((), ())), (200, 3), (3, 1)),
    ((((0,), (1,)), ((), ())), (600, 3), (400, 600)),
    ((((0,), (0,)), ((), ())), (600,), (600,)),
    ((((), ()), ((), ())), (5,), (6,)),
    ((((1, 2), (0, 1)), ((0,), (2,))), (3, 20, 30, 4), (20, 30, 3, 5)),
    ((((2, 0), (0, 1)), ((1,), (2,))), (20, 3, 30), (30, 20, 3, 5)),
)
CONVOLUTIONS = (  # images, kernel, strides, padding, dilation, groups
    ((4, 15, 15, 12), (5, 5, 12, 32), (1, 1), "SAME", (1, 1), 1),
    ((2, 67, 67, 1), (11, 11, 1, 12), (4, 4), "VALID", (1, 1), 1),
    ((5, 7, 7, 48), (3, 3, 48, 48), (1, 1), "SAME", (1, 1), 1),
    ((3, 20, 22, 40), (5, 3, 40, 7), (2, 3), "SAME", (1, 1), 1),
    ((3, 20, 22, 40), (5, 3, 40, 7), (1, 1), "VALID", (2, 3), 1),
    ((4, 9, 9, 12), (3, 3, 6, 10), (1, 1), "SAME", (1, 1), 2),
    ((6, 2, 2, 64), (3, 3, 64, 9), (1, 1), "SAME", (1, 1), 1),
)
BATCH = 6
MATH = re.compile(  # in the names of an object file's symbols
    rb"(?<=\0)(?:a?(?:sin|cos|tan)h?|exp2?|expm1|log(?:2|10|1p)?|pow|cbrt|erfc?|hypot|fmod|fma)f?"
    rb"(?=\0)"
)


def products() -> dict[str, float]:
    """Return the largest error of each product, in its bound."""
    import jax
    from jax import lax

    errors = {}
    for number, (dimensions, left, right) in enumerate(PRODUCTS):
        a, b = _random(number, left, right)
        product = jax.jit(partial(lax.dot_general, dimension_numbers=dimensions))
        exact = partial(_exact_product, dimensions=dimensions)
        terms = int(np.prod([left[axis] for axis in dimensions[0][0]]))
        errors[f"{left} {right}"] = _error(product(a, b), exact(a, b), exact(abs(a), abs(b)), terms)
    return errors


def _exact_product(a: Array, b: Array, dimensions: Any) -> Array:
    """Return ``lax.dot_general`` in float64."""
    (left, right), (left_batch, right_batch) = dimensions
    names = iter("abcdefghijklmnopqrstuvwxyz")
    left_names = [next(names) for _ in a.shape]
    right_names = [next(names) for _ in b.shape]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        right_names[j] = left_names[i]
    shared = [left_names[i] for i in left_batch]
    free = [n for n in left_names if n not in right_names]
    free += [n for n in right_names if n not in left_names]
    subscripts = f"{''.join(left_names)},{''.join(right_names)}->{''.join(shared + free)}"
    return np.einsum(subscripts, a.astype(float), b.astype(float))


def convolutions() -> dict[str, float]:
    """Return the largest error of each convolution and of its two gradients, in their bounds."""
    import jax
    from jax import lax

    errors = {}
    for number, (images, kernel, strides, padding, dilation, groups) in enumerate(CONVOLUTIONS):
        convolve = partial(
            lax.conv_general_dilated,
            window_strides=strides,
            padding=padding,
            rhs_dilation=dilation,
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        shape = jax.eval_shape(convolve, *_random(number, images, kernel)).shape
        x, k, g = _random(number, images, kernel, shape)
        low_high = lax.padtype_to_pads(
            images[1:3],
            [(n - 1) * d + 1 for n, d in zip(kernel[:2], dilation, strict=True)],
            strides,
            padding,
        )

        @jax.jit
        def step(x: Any, k: Any, g: Any, convolve: Any = convolve) -> Any:
            output, transpose = jax.vjp(convolve, x, k)
            return output, *transpose(g)

        exact = partial(
            convolve_exactly, padding=low_high, strides=strides, dilation=dilation, groups=groups
        )
        spatial = int(np.prod(shape[:3]))
        terms = (int(np.prod(kernel[:3])), int(np.prod(kernel[:2])) * kernel[3], spatial)
        results = zip(
            step(x, k, g), exact(x, k, g), exact(abs(x), abs(k), abs(g)), terms, strict=True
        )
        for name, result in zip(("output", "image", "kernel"), results, strict=True):
            errors[f"{images} {kernel} {name}"] = _error(*result)
    return errors


def convolve_exactly(
    x: Array,
    k: Array,
    g: Array,
    padding: Any,
    strides: Any = (1, 1),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Return a convolution in float64, and its gradients for the output's gradient ``g``."""
    x, k, g = x.astype(float), k.astype(float), g.astype(float)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    y, dx, dk = np.zeros(g.shape), np.zeros(padded.shape), np.zeros(k.shape)
    for i, j in np.ndindex(k.shape[:2]):
        rows, columns = (
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip((i, j), dilation, g.shape[1:3], strides, strict=True)
        )
        for group in range(groups):
            ins, outs = (
                slice(group * n // groups, (group + 1) * n // groups)
                for n in (x.shape[3], g.shape[3])
            )
            patch, kernel = padded[:, rows, columns, ins], k[i, j, :, outs]
            y[..., outs] += patch @ kernel
            dx[:, rows, columns, ins] += g[..., outs] @ kernel.T
            dk[i, j, :, outs] += np.tensordot(patch, g[..., outs], ((0, 1, 2), (0, 1, 2)))
    inner = tuple(slice(low, low + n) for (low, _), n in zip(padding, x.shape[1:3], strict=True))
    return y, dx[:, inner[0], inner[1]], dk


def _random(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


def _error(result: Any, exact: Array, magnitudes: Array, terms: int) -> float:
    """Return the largest error of sums of ``terms`` products, in the bound of each."""
    assert result.shape == exact.shape
    bound = gamma(terms + 1) * magnitudes
    return float(np.max(np.abs(np.asarray(result, float) - exact) / bound))


def network_gradients() -> dict[str, float]:
    """Return how far a training step's gradients are from those of NumPy in float64, by variable.

    The distance is relative to the largest element; the network is documents 000 and 001's.
    """
    import keras

    import zoo
    from experiments.harness.model.gradients import Gradients
    from experiments.harness.model.variables import to_numpy

    keras.utils.set_random_seed(0)
    model = zoo.build("mnist_cnn", widths=(8, 16, 64))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(loss=loss)
    images = np.random.default_rng(0).random((BATCH, 28, 28, 1), dtype=np.float32)
    labels = np.arange(BATCH)
    gradients = Gradients(model, run_eagerly=False)((images, labels))
    values = {v.path: to_numpy(v).astype(float) for v in model.trainable_variables}
    exact = _exact_gradients(values, images.astype(float), labels)
    return {
        path: float(np.max(np.abs(gradients[path] - exact[path])) / np.max(np.abs(exact[path])))
        for path in values
    }


def _exact_gradients(values: dict[str, Array], images: Array, labels: Array) -> dict[str, Array]:
    def convolve(x: Array, name: str, g: Array) -> tuple[Array, Array, Array]:
        return convolve_exactly(x, values[f"{name}/kernel"], g, padding=((2, 2), (2, 2)))

    x, saved = images, []
    for name in ("conv1", "conv2"):
        shape = (*x.shape[:3], len(values[f"{name}/bias"]))
        linear = convolve(x, name, np.zeros(shape))[0] + values[f"{name}/bias"]
        blocks = np.maximum(linear, 0).reshape(BATCH, shape[1] // 2, 2, shape[2] // 2, 2, shape[3])
        saved.append((name, x, linear, blocks))
        x = blocks.max((2, 4))
    flat = x.reshape(BATCH, -1)
    hidden = np.maximum(flat @ values["fc1/kernel"] + values["fc1/bias"], 0)
    logits = hidden @ values["output/kernel"] + values["output/bias"]
    g = np.exp(logits - logits.max(1, keepdims=True))
    g = g / g.sum(1, keepdims=True) - np.eye(10)[labels]
    gradients = {"output/kernel": hidden.T @ g, "output/bias": g.sum(0)}
    g = (g @ values["output/kernel"].T) * (hidden > 0)
    gradients |= {"fc1/kernel": flat.T @ g, "fc1/bias": g.sum(0)}
    g = (g @ values["fc1/kernel"].T).reshape(x.shape)
    for name, x, linear, blocks in reversed(saved):
        largest = blocks == blocks.max((2, 4), keepdims=True)
        g = (largest * g[:, :, None, :, None]).reshape(linear.shape) * (linear > 0)
        _, dx, gradients[f"{name}/kernel"] = convolve(x, name, g)
        gradients[f"{name}/bias"] = g.sum((0, 1, 2))
        g = dx
    return gradients


def library_calls(folder: str) -> dict[str, list[str]]:
    """Return what the programs that XLA dumped into ``folder`` leave to libraries.

    ``operations``: convolutions, custom calls, and products without a kernel of XLA's own.
    ``functions``: the mathematics of the C library that kernels call. ``programs``: all names.
    """
    operations, functions, programs = set(), set(), set()
    for path in Path(folder).glob("*.cpu_after_optimizations.txt"):
        program = path.name.removesuffix(".cpu_after_optimizations.txt")
        programs.add(program.partition(".")[2])
        kernels = {p.name for p in Path(folder).glob(f"{program}.obj-file.*")}
        for computation in path.read_text().split("\n\n"):
            header = computation.lstrip().partition(" ")[0].lstrip("%")
            inlined = "fused" in header or _is_kernel(header, kernels, path.read_text())
            for line in computation.splitlines():
                if match := re.search(r"%(\S+) = .* (dot|convolution|custom-call)\(", line):
                    name, kind = match.groups()
                    kernel = f"{program}.obj-file.{name}_elemental_kernel_module.o"
                    if kind != "dot" or not (inlined or kernel in kernels):
                        operations.add(f"{program}: {line.strip()[:120]}")
    for path in Path(folder).glob("*.o"):
        functions |= {name.decode() for name in MATH.findall(path.read_bytes())}
    return {
        "operations": sorted(operations),
        "functions": sorted(functions),
        "programs": sorted(programs),
    }


def _is_kernel(computation: str, kernels: set[str], text: str) -> bool:
    """Return whether XLA compiles a computation, the body of a short loop, as one kernel."""
    calls = re.findall(rf"%(\S+) = .* (?:call|while)\(.*=%{re.escape(computation)}\b", text)
    names = {f".{call}_computation_kernel_module.o" for call in calls}
    return any(kernel.endswith(name) for kernel in kernels for name in names)


def refusals() -> list[str]:
    """Return the errors of operations that are a library's."""
    import jax
    from jax import numpy as jnp

    errors = []
    for function in (jnp.linalg.qr, jnp.linalg.eigh, jnp.linalg.inv, jnp.fft.fft):
        try:
            jax.jit(function).lower(jnp.ones((4, 4)))
        except UserError as error:
            errors.append(str(error))
    return errors


def transposed() -> None:
    """Compile products whose operands and results are transposed, alone and in a gradient."""
    import jax
    from jax import numpy as jnp

    a, w = jnp.ones((8, 10)), jnp.ones((64, 10))
    jax.jit(lambda a, w: (w @ a.T).T)(a, w)
    jax.jit(lambda a, w: ((a @ w.T).T, (w[0] @ a.T).T))(a, w)
    jax.jit(jax.grad(lambda a, w: jnp.sum(jnp.sin(jnp.tanh(a) @ w.T)), (0, 1)))(a, w)
    jax.jit(jax.grad(lambda a, w: jnp.sum((w @ a.T) ** 2), (0, 1)))(a, w)


def run(folder: str) -> dict[str, Any]:
    """Train a small run, as a user does; return its directory and its environment."""
    import experiments

    environment = experiments.deterministic(seed=1, portable=True)
    options: dict[str, Any] = {"arms": "fixed_rate", "seeds": 0, "data": "digits"}
    result = experiments.run(
        "alexnet_lr_decay", scale="mini", overrides=TINY, logdir=folder, portable=True, **options
    )
    (directory,) = (path.parent for path in Path(folder).rglob("run.json"))
    assert result.runs[0].spec.environment == environment
    return {"directory": str(directory), "environment": environment}


def check(folder: str) -> dict[str, Any]:
    """Return all of the above; in ``folder`` XLA dumps its programs, and the run is."""
    results = {
        "run": run(f"{folder}/logs"),
        "products": products(),
        "convolutions": convolutions(),
        "gradients": network_gradients(),
        "refusals": refusals(),
    }
    transposed()
    return results | {"calls": library_calls(folder)}
