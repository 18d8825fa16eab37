"""What a target looks like before anything was learned: colours of head and hair, the background, the card's outline.

A spread of training pictures is laid back on the texture by the codes of their conditioning, and averaged. What covers
the background, and what is background, follows from one question asked of each texel: is it what stands still on the
head, or what stands still behind it, that explains its pictures better?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from torch import Tensor
from torch.nn import functional

from capture.spread import spread
from models.eyeballs import eyeball_correspondence
from models.face import FaceModel
from models.generator import GeneratorConfig, texture_places
from models.halo import CELLS, NECK_M, ROWS_M, Halo
from models.mouth import inner_mouth, tongue_correspondence
from models.teeth import Teeth
from reenact.dataset import Recording
from reenact.head_outline import HeadOutline, find_outline
from reenact.own_body import find_body
from reenact.seen_pictures import LEAST_SEEN, Seen, Sums, background_of, median_of, texels_of, watch
from reenact.training_set import TrainingSet

Array = NDArray[np.float32]

FRAMES = 120
"""Training pictures that are looked at."""
BACKGROUND_FRAMES = 48
"""Of them, pictures that the background is the median of."""
LEARNED_SHARE = 0.05
"""Pixels a picture that a texel must have on average to be learned."""
SURELY_SEEN = 30.0
"""Pixels from which on a texel's colour is its own, and not in part that of the texels around it."""
FADE_SHARE = 0.02
"""Share of the texture's height over which less than half is left of the belief in what was seen beside a texel."""
STRANGER = 0.001
"""Squared difference of colours, 0 to 1, from which two are not the same for noise alone."""
CELL_SHARE = 0.1
"""Share of a cell's pixels that must show something on the head, or the card is cut there."""
TONGUE, TEETH, THROAT = (0.2, 0.08, 0.08), (0.35, 0.27, 0.24), (0.06, 0.02, 0.02)
"""Usual colours in a mouth, in its shade."""
INNER_LIPS, LIPS_M = (0.45, 0.22, 0.2), 0.02
"""Usual colour where the lips meet, and the way along the walls on which it turns into that of the throat."""
USUAL_PIXELS = 6.0
"""As how many pixels of each texel they count."""
EYE_RINGS = 12
"""Rings around an eye's axis in which it looks alike."""


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What a photo generator begins with."""

    colors: Tensor
    """`[3, h, w]` of each texel, 0 to 1."""
    coverage: Tensor
    """`[1, h, w]` how far a texel covers the background, 0 to 1."""
    is_seen: Tensor
    """`[1, h, w]` whether a texel is seen often enough to be learned."""
    plate: Tensor
    """`[3, S, S]` the background, guessed where it is never seen."""
    halo: Halo
    """The card, cut to the cells that show something, and how it grows."""
    reach: HeadOutline
    """How far the person reaches around the head."""


def look_first(recording: Recording, model: FaceModel, config: GeneratorConfig) -> FirstLook:
    """Look at a spread of training pictures."""
    found = find_outline(recording)
    halo = Halo(outline=found.outline, body=find_body(recording, model))
    seen = list(watch(recording, model, config, halo, spread(recording.training, FRAMES)))
    some = _some(seen)
    median, _ = median_of(some, [one.told for one in some])
    sums = Sums(seen, median, config.texture_size)
    cells = _cells(some, sums.background_error > 2.0 * sums.variance + STRANGER, found)
    halo = Halo(cells, found.outline, halo.body)
    return _look([one.cut(cells) for one in seen], median, found, halo, config, model)


def look_again(first: FirstLook, data: TrainingSet, model: FaceModel, config: GeneratorConfig) -> FirstLook:
    """Look at the pictures of `data` once more, but not at what moved by itself in them; the card stays as it is."""
    recording = data.recording
    frames = spread(recording.training, FRAMES)
    told = [~data.moved_at(data.index[int(frame)]).numpy() for frame in frames]
    seen = list(watch(recording, model, config, first.halo, frames, told))
    before = first.plate.numpy().transpose(1, 2, 0)
    return _look(seen, before, first.reach, first.halo, config, model)


def _some(seen: Sequence[Seen]) -> Sequence[Seen]:
    return seen[:: max(1, len(seen) // BACKGROUND_FRAMES)]


def _look(
    seen: Sequence[Seen], median: Array, found: HeadOutline, halo: Halo, config: GeneratorConfig, model: FaceModel
) -> FirstLook:
    """Tell the person from the background in pictures with the card `halo`; where none shows any background, it is as
    in `median [S, S, 3]`.
    """
    size = config.texture_size
    plate = background_of(_some(seen), median)
    sums = Sums(seen, plate, size)
    everything = np.concatenate([sums.mean, sums.coverage[:, None]], 1)
    count = sums.count.copy()
    if config.has_own_eyes:
        _add_eyes(everything, count, size, model)
    texture = _fill(everything, count, size, model)
    if np.isfinite(found.reach_m).all():
        places = halo.texels(size)
        is_guessed = (places[..., 1] > NECK_M[0]) & (sums.count.reshape(size) < LEAST_SEEN)
        is_head = np.zeros(size, bool)
        is_head[is_guessed] = found.contains(places[is_guessed])
        texture[3] = torch.from_numpy(_faded(texture[3].numpy(), is_head, is_guessed))
    is_seen = torch.from_numpy(sums.count.reshape(1, *size) >= LEARNED_SHARE * len(seen))
    background = torch.from_numpy(plate.transpose(2, 0, 1).copy())
    return FirstLook(texture[:3], texture[3:], is_seen, background, halo, found)


def _faded(
    coverage: NDArray[np.float32], is_head: NDArray[np.bool_], is_guessed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Let `coverage [h, w]` turn into what the outline says of each texel, `is_head`, where it `is_guessed`.

    Hair that every picture cuts off fades out. A cliff beside it would be like nothing that was seen, and a network
    would make specks and dashes of it where the head comes down.
    """
    away = cv2.distanceTransform(is_guessed.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = np.exp(-away / (FADE_SHARE * len(coverage))).astype(np.float32)
    return np.where(is_guessed, near * coverage + (1.0 - near) * is_head, coverage)


def _cells(pictures: Sequence[Seen], is_head: NDArray[np.bool_], found: HeadOutline) -> NDArray[np.bool_]:
    """Keep the cells that show something of the head, by `is_head` of each texel, and what must go with them.

    Within the outline that was `found` all are kept: where the head never leaves, nothing tells it from what is behind.
    So are those below a shoulder: it does not end where the picture does, and may come up.
    """
    shown, on_head = np.zeros((2, CELLS[0] * CELLS[1]))
    for seen in pictures:
        on_card = seen.cell >= 0
        shown += np.bincount(seen.cell[on_card], minlength=len(shown))
        on_head += np.bincount(seen.cell[on_card], is_head[seen.texel[on_card]], minlength=len(shown))
    middles = _cell_middles()
    is_kept = ((on_head > CELL_SHARE * np.maximum(shown, 1)) | found.contains(middles)).reshape(CELLS)
    below = int((middles[:, 1].reshape(CELLS)[:, 0] < NECK_M[0]).sum())
    is_kept[:below] = np.logical_or.accumulate(is_kept[:below][::-1])[::-1]
    return _filled(is_kept)


def _cell_middles() -> Array:
    """Give where the card's cells lie on it, `[N, 2]`."""
    points = Halo().points[:, :2].reshape(CELLS[0] + 1, CELLS[1] + 1, 2)
    return ((points[:-1, :-1] + points[1:, 1:]) / 2.0).reshape(-1, 2)


def _filled(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add to `cells` all between them and the middle of the head, and one further all around: outlines move."""
    grown = cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    filled = grown.copy()
    rows, columns = CELLS
    middle = np.array([np.interp(0.0, ROWS_M[0], np.arange(rows + 1)), columns / 2])
    for cell in np.argwhere(grown):
        for share in np.linspace(0.0, 1.0, 2 * max(CELLS)):
            row, column = (middle + share * (cell + 0.5 - middle)).astype(int)
            filled[row, column] = True
    return filled


def _fill(values: NDArray[np.float64], count: NDArray[np.float64], size: tuple[int, int], model: FaceModel) -> Tensor:
    """Lay `values [N, 4]` of texels that were seen `count [N]` times out as `[4, h, w]`, with a guess of the others."""
    is_mouth = _add_mouth(values, count, size, model)
    # What is dark in a mouth must not spread to the chin, which lies beside it in the texture and is seldom seen below.
    texture = _spread(values, np.where(is_mouth, 0.0, count), size)
    texture[:, torch.from_numpy(is_mouth.reshape(size))] = torch.from_numpy(values[is_mouth].T).float()
    return texture


def _add_mouth(
    values: NDArray[np.float64], count: NDArray[np.float64], size: tuple[int, int], model: FaceModel
) -> NDArray[np.bool_]:
    """Let a mouth look usual in `values [N, 4]` as far as `count [N]` says that it was hardly seen; says where, `[N]`.

    Whoever enrols with a shut mouth would have other colours in it otherwise.
    """
    added = np.zeros(size)
    usual = np.zeros((*size, 4))
    walls = inner_mouth(model)
    shade = np.minimum(walls.depth_m / LIPS_M, 1.0)[:, None]
    parts = (
        (tongue_correspondence(model)[1], np.array([TONGUE])), (Teeth(model).correspondence, np.array([TEETH])),
        (walls.correspondence, np.array([INNER_LIPS]) * (1.0 - shade) + np.array([THROAT]) * shade)
    )  # fmt: skip
    for codes, colors in parts:
        texel = texels_of(_as_image(codes), size)[0, 0].numpy()
        row, column = texel // size[1], texel % size[1]
        rows = np.arange(max(row.min() - 1, 0), row.max() + 2)
        area = slice(rows[0], rows[-1] + 1), slice(column.min() - 1, column.max() + 2)
        added[area], usual[area] = USUAL_PIXELS, 1.0
        order = np.argsort(row)
        for channel, values_of in enumerate(np.broadcast_to(colors, (len(row), 3)).T):
            usual[(*area, channel)] = np.interp(rows, row[order], values_of[order])[:, None]
    share = (added.ravel() / np.maximum(count + added.ravel(), 1.0))[:, None]
    values += share * (usual.reshape(-1, 4) - values)
    return added.ravel() > 0.0


def _add_eyes(values: NDArray[np.float64], count: NDArray[np.float64], size: tuple[int, int], model: FaceModel) -> None:
    """Let what lids hide of an eye in `values [N, 4]`, hardly seen by `count [N]`, look as on the rest of the same ring
    around its axis. After it they count as seen.
    """
    for eye, codes in zip(model.eye_vertices, eyeball_correspondence(model), strict=True):
        spot = (texture_places(_as_image(codes))[0, 0].numpy()[:, ::-1] + 1.0) / 2.0 * size - 0.5
        (top, left), (bottom, right) = np.floor(spot.min(0)).astype(int), np.ceil(spot.max(0)).astype(int)
        rows, columns = np.mgrid[top : bottom + 1, left : right + 1]
        angles = model.eye_angle[eye]
        angle = LinearNDInterpolator(spot, angles, fill_value=angles.max())(rows, columns).ravel()
        texels = (rows * size[1] + columns).ravel()
        ring = angle / angles.max() * EYE_RINGS
        weight = np.bincount(ring.astype(int), count[texels], EYE_RINGS + 1)
        known = np.flatnonzero(weight >= LEAST_SEEN)
        if not len(known):
            continue
        share = (USUAL_PIXELS / (count[texels] + USUAL_PIXELS))[:, None]
        usual = np.ones((len(texels), 4))
        for channel in range(3):
            total = np.bincount(ring.astype(int), count[texels] * values[texels, channel], EYE_RINGS + 1)
            usual[:, channel] = np.interp(ring - 0.5, known, total[known] / weight[known])
        values[texels] += share * (usual - values[texels])
        count[texels] = np.maximum(count[texels], SURELY_SEEN)


def _as_image(codes: Array) -> Tensor:
    """Lay codes `[N, 3]` out as an image of one row, `[1, 3, 1, N]`."""
    return torch.from_numpy(codes.T.reshape(1, 3, 1, -1).copy())


def _spread(values: NDArray[np.float64], count: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    """Lay `values [N, C]` out as `[C, h, w]`; texels that were hardly seen take what lies near, ever more blurred."""
    weight = torch.from_numpy(count.reshape(1, 1, *size)).float()
    total = torch.from_numpy(values.T.reshape(1, -1, *size)).float() * weight
    result, is_known = total / weight.clamp(min=1.0), weight >= LEAST_SEEN
    # A texel that is seen from the side alone, a few pixels in all, would be a speck where a head turns towards it.
    around = _around(total, 2) / _around(weight, 2).clamp(min=1e-9)
    result = around + (weight / SURELY_SEEN).clamp(max=1.0) * (result - around)
    total, weight = total * is_known, weight * is_known
    reach = 1
    while not bool(is_known.all()) and reach < max(size):
        near = _around(weight, reach)
        guess = _around(total, reach) / near.clamp(min=1e-9)
        is_new = ~is_known & (near > 1e-9)
        result = torch.where(is_new, guess, result)
        is_known = is_known | is_new
        reach *= 2
    return result[0]


def _around(values: Tensor, reach: int) -> Tensor:
    """Average `values [B, C, h, w]` over the square that goes so many texels in each direction; 0 beyond the edges."""
    size = 2 * reach + 1
    # Row by row and then column by column: at the widest, hundreds of times as fast.
    return functional.avg_pool2d(functional.avg_pool2d(values, (1, size), 1, (0, reach)), (size, 1), 1, (reach, 0))
