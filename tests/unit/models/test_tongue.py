from __future__ import annotations

import numpy as np

from models.face import FaceModel
from models.halo import Halo
from models.teeth import Teeth
from models.tongue import tongue_correspondence
from reenact.conditioning import MIN_RIGIDITY
from tests.unit.models.places import places


def test_the_tongue_shares_its_texels_with_nothing_that_is_drawn() -> None:
    model = FaceModel.load()
    tongue, codes = tongue_correspondence(model)
    assert len(tongue) == 226
    assert (model.mean[tongue, 2] > 0.02).all()
    own = places(codes)
    low, high = own.min(0), own.max(0)
    drawn = np.unique(model.triangles[model.rigidity[model.triangles].min(1) > MIN_RIGIDITY])
    others = [model.correspondence[np.setdiff1d(drawn, tongue)], Teeth(model).correspondence, Halo().correspondence]
    margin = 2.0 / 256
    for other in (places(each) for each in others):
        assert not ((other > low - margin) & (other < high + margin)).all(1).any()
    # Nor do its own vertices lie on each other.
    assert len(np.unique(own.round(3), axis=0)) > 150


def test_it_lies_there_as_it_lies_in_the_mouth() -> None:
    model = FaceModel.load()
    tongue, codes = tongue_correspondence(model)
    u, v = places(codes).T
    assert np.corrcoef(u, model.mean[tongue, 0])[0, 1] > 0.999
    assert np.corrcoef(v, model.mean[tongue, 2])[0, 1] > 0.99
