import hashlib
import struct

import numpy as np

from experiments.harness.storage.fingerprint import batch_checksum, link, tensor_digest

TENSORS = {"fc1/kernel": np.arange(6, dtype="float32").reshape(2, 3), "seed": np.array(7, "uint32")}


def test_a_link_is_the_documented_hash():
    content = b"before" + b"\nfc1/kernel float32 (2, 3)\n" + TENSORS["fc1/kernel"].tobytes()
    content += (
        b"\nseed uint32 ()\n" + TENSORS["seed"].tobytes() + b"\nloss\n" + struct.pack("<d", 0.5)
    )
    assert link("before", TENSORS, {"loss": 0.5}) == hashlib.sha256(content).hexdigest()


def test_every_difference_changes_the_link():
    flipped = TENSORS["fc1/kernel"].copy()
    flipped.view("uint32")[1, 2] ^= 1
    links = {
        link("", TENSORS, {"loss": 0.5}),
        link("before", TENSORS, {"loss": 0.5}),
        link("", TENSORS, {"loss": np.nextafter(0.5, 1)}),
        link("", TENSORS, {"gain": 0.5}),
        link("", TENSORS | {"fc1/kernel": flipped}, {"loss": 0.5}),
        link("", TENSORS | {"fc1/kernel": TENSORS["fc1/kernel"].reshape(3, 2)}, {"loss": 0.5}),
        link("", TENSORS | {"seed": np.array(7, "int32")}, {"loss": 0.5}),
        link("", {"fc2/kernel": TENSORS["fc1/kernel"], "seed": TENSORS["seed"]}, {"loss": 0.5}),
    }
    assert len(links) == 8


def test_a_digest_depends_on_type_shape_and_bytes_and_a_checksum_on_the_order():
    kernel = TENSORS["fc1/kernel"]
    others = kernel.reshape(3, 2), kernel.astype("float64"), kernel + 1
    assert len({tensor_digest(tensor) for tensor in (kernel, *others)}) == 4
    assert tensor_digest(np.asfortranarray(kernel)) == tensor_digest(kernel)
    assert (
        batch_checksum(np.array([3, 5]))
        == batch_checksum(np.array([3, 5]))
        != batch_checksum(np.array([5, 3]))
    )


def test_strides_do_not_change_the_link():
    transposed = TENSORS | {"fc1/kernel": np.asfortranarray(TENSORS["fc1/kernel"])}
    assert link("", transposed, {}) == link("", TENSORS, {})
