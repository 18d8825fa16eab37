from __future__ import annotations

import numpy as np

from models.eyeballs import eyeball_correspondence
from models.face import FaceModel
from models.halo import Halo
from models.mouth import inner_mouth, tongue_correspondence
from models.teeth import Teeth
from reenact.conditioning import MIN_RIGIDITY
from tests.unit.models.places import places


def test_each_eyeball_shares_its_texels_with_nothing_that_is_drawn() -> None:
    model = FaceModel.load()
    codes = eyeball_correspondence(model)
    assert all(((eye >= 0.0) & (eye <= 1.0)).all() for eye in codes)
    drawn = np.unique(model.triangles[model.rigidity[model.triangles].min(1) > MIN_RIGIDITY])
    skin = np.setdiff1d(
        drawn, np.concatenate([*model.eye_vertices, tongue_correspondence(model)[0], inner_mouth(model).vertices])
    )
    others = [
        places(each)
        for each in (
            model.correspondence[skin], tongue_correspondence(model)[1], inner_mouth(model).correspondence,
            Teeth(model).correspondence, Halo().correspondence,
        )
    ]  # fmt: skip
    eyes = [places(eye) for eye in codes]
    margin = 2.0 / 256
    for eye, another in (eyes, eyes[::-1]):
        low, high = eye.min(0) - margin, eye.max(0) + margin
        for beside in (*others, another):
            assert not ((beside > low) & (beside < high)).all(1).any()


def test_an_eyeball_lies_there_as_large_and_the_same_way_round_as_on_the_head() -> None:
    model = FaceModel.load()
    for eye, codes in zip(model.eye_vertices, eyeball_correspondence(model), strict=True):
        there, here = places(codes), places(model.correspondence[eye])
        np.testing.assert_allclose(there - there.mean(0), here - here.mean(0), atol=1e-4)
