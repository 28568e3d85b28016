"""Makes the files beside it: `python make.py`, with numpy 2.4.6, safetensors 0.8.0 and ml_dtypes 0.6.0.

The tests of `tensor` read them, to be held against the real writers and not only against themselves.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
# Exact in every floating-point type here: -1, -7/8, ..., 15/8.
STEPS = (np.arange(24) / 8 - 1).reshape(2, 3, 4)


def npy(name, array, version=None):
    with open(HERE / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, np.asanyarray(array), version=version)


for code in ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]:
    end = "le" if code[0] == "<" else "be"
    npy(f"{code[1:]}_{end}", STEPS.astype(code))
npy("f4_version2", STEPS.astype("<f4"), (2, 0))
npy("f4_version3", STEPS.astype("<f4"), (3, 0))
npy("f4_fortran", np.asfortranarray(STEPS.astype("<f4")))
npy("f8_be_fortran", np.asfortranarray(STEPS.astype(">f8")))
npy("rank0", np.array(1.5, "<f4"))
npy("rank1", STEPS.astype("<f4").ravel())
npy("empty", np.zeros((2, 0, 3), "<f4"))
npy("empty_fortran", np.zeros((2, 0, 3), "<f2", order="F"))
npy("f8_overflow", np.array([1e300, -1e300, np.inf, np.nan, 1 / 3]))

npy("bool", np.array([True, False]))
npy("i8", np.array([1, 2]))
npy("u1", np.array([1, 2], "u1"))
npy("c8", np.array([1j], "c8"))
npy("object", np.array([None], object))
npy("text", np.array(["ab"]))
npy("structured", np.array([(1, 2)], [("a", "<f4"), ("b", "<f4")]))
npy("bf16", STEPS.astype(ml_dtypes.bfloat16))

save_file({"steps": STEPS.astype("<f4")}, HERE / "one.safetensors")
save_file(
    {
        "half": STEPS.astype("<f2"),
        "brain": STEPS.astype(ml_dtypes.bfloat16),
        "single": STEPS.astype("<f4"),
        "double": STEPS.astype("<f8"),
        "ids": np.array([1, 2]),
        "scalar": np.array(1.5, "<f4"),
        "empty": np.zeros((2, 0, 3), "<f4"),
    },
    HERE / "types.safetensors",
)
save_file({f"layer.{i}": np.zeros(1, "<f4") for i in range(12)}, HERE / "many.safetensors")
save_file({}, HERE / "none.safetensors")
