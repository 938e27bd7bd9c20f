"""Masks and weights from files of other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbs_opt.errors import InputError
from cbs_opt.evaluation.mask_file import load_mask, load_weights

MASK = np.array([True, False, True])


@pytest.mark.parametrize("kind", [bool, int, float])
def test_one_array_saved_by_numpy_is_a_mask(tmp_path: Path, kind: type) -> None:
    np.save(tmp_path / "mask.npy", MASK.astype(kind))
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.npy", 3), MASK)
    assert load_weights(tmp_path / "mask.npy", 3, required=False) is None  # it has no name, and is not them, too
    np.save(tmp_path / "weights.npy", [0.5, 0.0, -1.0])
    np.testing.assert_array_equal(load_weights(tmp_path / "weights.npy", 3), [0.5, 0.0, -1.0])


def test_what_is_wrong_with_one_is_a_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", MASK[:2])
    with (tmp_path / "objects.npy").open("wb") as stream:  # an object array is refused by its header alone
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (2,)})
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    for name, words in {
        "short.npy": r"short.npy: array: has shape \(2,\); a mask of shape \(3,\) is needed",
        "objects.npy": r"objects.npy: cannot be read as .npy \(Object arrays cannot be loaded",
        "broken.npy": r"broken.npy: cannot be read as .npy",
        "none.npy": "none.npy: no such file",
        "mask.txt": r"mask.txt: the suffix '.txt' names no format",
    }.items():
        with pytest.raises(InputError, match=words):
            load_mask(tmp_path / name, 3)
