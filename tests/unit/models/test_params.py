from __future__ import annotations

import numpy as np
import pytest

from models.params import EXPRESSION_NAMES, EXPRESSION_SIZE, PACKED_SIZE, SH_BAND0, FaceParams


def random_params(count: int) -> FaceParams:
    rng = np.random.default_rng(3)
    return FaceParams.unpack(rng.normal(size=(count, PACKED_SIZE)).astype(np.float32))


def test_names_are_the_52_of_arkit_each_once() -> None:
    assert EXPRESSION_SIZE == 52
    assert len(set(EXPRESSION_NAMES)) == 52
    left = [name for name in EXPRESSION_NAMES if name.endswith("Left")]
    assert all(name.removesuffix("Left") + "Right" in EXPRESSION_NAMES for name in left)


def test_pack_and_unpack_are_inverse_for_one_frame_and_for_batches() -> None:
    batch = random_params(4)
    packed = batch.pack()
    assert packed.shape == (4, PACKED_SIZE)
    assert packed.dtype == np.float32
    for name, values in FaceParams.unpack(packed).fields().items():
        np.testing.assert_array_equal(values, batch.fields()[name])
    np.testing.assert_array_equal(batch[2].pack(), packed[2])


def test_stack_of_frames_is_the_batch() -> None:
    batch = random_params(3)
    np.testing.assert_array_equal(FaceParams.stack([batch[0], batch[1], batch[2]]).pack(), batch.pack())
    np.testing.assert_array_equal(batch[1:].pack(), batch.pack()[1:])


def test_unpack_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=f"expected last dimension {PACKED_SIZE}, got 7"):
        FaceParams.unpack(np.zeros(7, np.float32))


def test_a_field_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="FaceParams.gaze: expected shape"):
        FaceParams.neutral().replace(gaze=np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="FaceParams.gaze: expected leading shape"):
        FaceParams.neutral().replace(gaze=np.zeros((5, 2, 2), np.float32))


def test_neutral_faces_the_camera_in_unit_white_light() -> None:
    neutral = FaceParams.neutral(distance_m=0.7)
    np.testing.assert_allclose(neutral.translation, [0, 0, -0.7])
    assert not neutral.rotation.any()
    np.testing.assert_allclose(neutral.illumination[:, 0] * SH_BAND0, 1.0, rtol=1e-6)
