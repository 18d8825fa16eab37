from __future__ import annotations

import numpy as np
import pytest
import torch

from models.body import NECK_M, Body
from models.face_numbers import FACE_NUMBERS
from models.generator import CHANGE_SIZE, CONDITIONING_CHANNELS, GeneratorConfig, build_generator
from models.halo import CELLS, DIRECTIONS, HEAD_ROWS_M, ROWS_M, VIEW_TERMS, Halo, Outline
from models.photo_generator import EDGE_CODE, LATER, PhotoGenerator, soften, useful_weights

SMALL = GeneratorConfig(
    resolution=128, window=3, design="photo", stem_channels=4, widths=(8, 8, 12, 12, 16), texture_channels=6,
    texture_size=(16, 24),
)  # fmt: skip


def photo(config: GeneratorConfig = SMALL) -> PhotoGenerator:
    torch.manual_seed(0)
    generator = build_generator(config)
    assert isinstance(generator, PhotoGenerator)
    return generator.requires_grad_(False).eval()


def half_covered(size: int = 128) -> torch.Tensor:
    """Give a window whose left half shows the head's code (0.6, 0.5, 0.9), and whose right half shows no head."""
    frames = torch.zeros(1, 3, CONDITIONING_CHANNELS, size, size)
    frames[:, :, 3:6, :, : size // 2] = torch.tensor([0.6, 0.5, 0.9])[:, None, None]
    return frames


@pytest.mark.parametrize("magnification", [1, 2])
def test_it_begins_as_the_persons_colours_over_the_background(magnification: int) -> None:
    size = 128 * magnification
    generator = photo(GeneratorConfig(**{**SMALL.to_json(), "resolution": size, "magnification": magnification}))
    color = torch.tensor([0.8, 0.3, 0.1])
    generator.begin(color[:, None, None].expand(3, 16, 24), torch.ones(1, 16, 24), Halo())
    generator.plate[:] = 0.7
    picture = generator(half_covered(size))[0]
    torch.testing.assert_close(picture[:, :, : size // 2].mean((1, 2)), color, atol=0.03, rtol=0)
    assert float((picture[:, :, size // 2 :] - 0.7).abs().mean()) < 0.05


def test_what_does_not_cover_shows_the_background() -> None:
    generator = photo()
    generator.begin(torch.zeros(3, 16, 24), torch.zeros(1, 16, 24), Halo())
    generator.plate[:] = 0.7
    assert float((generator(half_covered())[0] - 0.7).abs().mean()) < 0.1


def test_its_card_is_kept_with_its_weights() -> None:
    cells = np.zeros(CELLS, bool)
    cells[3:9, 4:7] = True
    generator, other = photo(), photo()
    growth = np.random.default_rng(0).normal(size=(VIEW_TERMS, DIRECTIONS)).astype(np.float32)
    outline = Outline(growth, np.array([[0.1, 0.2], [-0.3, -0.2], [0.4, 0.5]], np.float32))
    rest = np.array([[0.1, -0.2, 0.05], [0.01, 0.02, -0.6]], np.float32)
    generator.begin(torch.zeros(3, 16, 24), torch.zeros(1, 16, 24), Halo(cells, outline, Body(rest, 0.75)))
    other.load_state_dict({name: value.half() for name, value in generator.state_dict().items()})
    assert len(other.halo.triangles) == 2 * 18
    np.testing.assert_allclose(other.halo.outline.growth, growth, atol=2e-3)
    np.testing.assert_allclose(other.halo.outline.views, outline.views, atol=1e-3)
    np.testing.assert_allclose(other.halo.rows_m, ROWS_M, atol=2e-4)
    body = other.halo.body
    assert body is not None
    np.testing.assert_allclose(body.rest, rest, atol=1e-3)
    assert body.share == 0.75
    np.testing.assert_allclose(body.neck_m, NECK_M, atol=1e-4)
    assert build_generator(GeneratorConfig(resolution=128, window=1)).halo is None


def test_weights_from_before_cards_grew_and_reached_down_keep_theirs() -> None:
    weights = {name: value for name, value in photo().state_dict().items() if name not in LATER}
    generator = photo()
    generator.load_state_dict(weights)
    assert not generator.halo.outline.growth.any()
    assert generator.halo.body is None
    np.testing.assert_array_equal(generator.halo.rows_m, HEAD_ROWS_M)


def test_weights_from_before_a_body_went_by_its_neck_have_it_go_half_of_the_heads_way() -> None:
    weights = {name: value for name, value in photo().state_dict().items() if name not in LATER}
    weights["halo_rest"] = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -0.6]])
    generator = photo()
    generator.load_state_dict(weights)
    body = generator.halo.body
    assert body is not None
    assert (body.share, body.neck_m) == (0.5, (0.0, 0.0, 0.0))


def test_a_picture_is_softened_where_codes_part_and_nowhere_else() -> None:
    picture = torch.zeros(1, 3, 8, 8)
    picture[..., 4:] = 1.0
    codes = torch.full((1, 3, 8, 8), 0.5)
    torch.testing.assert_close(soften(picture, codes), picture, atol=0, rtol=0)
    codes[..., 4:] = 0.5 + 0.9 * EDGE_CODE
    torch.testing.assert_close(soften(picture, codes), picture, atol=0, rtol=0)
    codes[..., 4:] = 0.5 + 1.1 * EDGE_CODE
    row = torch.tensor([0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 1.0])
    torch.testing.assert_close(soften(picture, codes), row.expand(1, 3, 8, 8))


def test_weights_from_before_changes_had_bounds_change_without() -> None:
    config = GeneratorConfig(**{**SMALL.to_json(), "change_size": (8, 12)})
    before, after = photo(config), photo(config)
    before.changes.normal_()
    before.face_range[2], before.face_range[3] = -3.0, 3.0
    after.load_state_dict({name: value for name, value in before.state_dict().items() if name != "change_bounds"})
    faces = torch.full((1, FACE_NUMBERS), 2.0)
    torch.testing.assert_close(after.change_of(faces), before.change_of(faces))


def test_its_colours_follow_the_face_as_far_as_was_seen() -> None:
    generator = photo(GeneratorConfig(**{**SMALL.to_json(), "change_size": (8, 12)}))
    maps = torch.zeros(FACE_NUMBERS, 3, 8, 12)
    maps[3, 0] = 0.5  # a unit of the fourth number makes all of it redder
    face_range = torch.tensor([0.2, 0.1, -1.0, 3.0])[:, None].repeat(1, FACE_NUMBERS)
    before = generator.texture.clone()
    maps[4, 1] = 1.0
    bounds = torch.tensor([-10.0, 10.0])[:, None, None, None].repeat(1, 3, 8, 12)
    bounds[:, 1] = torch.tensor([-0.5, 0.75])[:, None, None]
    generator.begin_changing(maps, torch.full((3, 8, 12), 0.25), face_range, bounds)
    torch.testing.assert_close(generator.texture[:, :3], before[:, :3] + 0.25)
    codes = torch.rand(4, 3, 16, 16)
    rest = generator.sample_texture(codes)
    faces = torch.full((4, FACE_NUMBERS), 0.2)
    faces[:, 3] = torch.tensor([0.2, 0.4, 0.9, -5.0])
    change = (generator.sample_texture(codes, faces) - rest).mean((2, 3))
    torch.testing.assert_close(change[:, 0], torch.tensor([0.0, 1.0, 1.5, -0.5]))
    assert not change[:, 1:].any()
    faces[:, 4] = torch.tensor([0.2, 0.25, 0.4, 0.0])  # 0, 0.5, 2 and -2 units: the place itself was seen less far
    change = (generator.sample_texture(codes, faces) - rest).mean((2, 3))
    torch.testing.assert_close(change[:, 1], torch.tensor([0.0, 0.5, 0.75, -0.5]))


def test_a_config_from_before_colours_changed_makes_a_photograph_that_does_not() -> None:
    values = SMALL.to_json()
    del values["change_size"]
    generator = photo(GeneratorConfig.from_json(values))
    assert "changes" not in generator.state_dict()
    assert generator.change_of(torch.zeros(2, FACE_NUMBERS)) is None
    assert GeneratorConfig.of_size(256).change_size == CHANGE_SIZE
    assert GeneratorConfig.of_size(256, design="lean").change_size == ()
    assert not GeneratorConfig.of_size(256).is_shaded
    assert GeneratorConfig.of_size(256, dropped=()).is_shaded
    assert GeneratorConfig.of_size(512, design="lean").is_shaded
    with pytest.raises(ValueError, match="change_size: expected 2 sides, of the photo design alone"):
        GeneratorConfig(design="lean", change_size=(8, 12))


def test_of_a_base_it_takes_what_does_not_paint_another_person() -> None:
    lean = build_generator(GeneratorConfig(**{**SMALL.to_json(), "design": "lean"})).state_dict()
    taken = useful_weights(lean)
    assert set(lean) - set(taken) == {"paint.weight", "paint.bias", "texture", "own_shape", "teeth_rise"}
    own = photo().state_dict()
    of_the_card = {f"halo_{name}" for name in ("cells", "growth", "views", "rest", "body", "rows")}
    of_the_person = {"texture", "own_shape", "teeth_rise", *of_the_card}
    assert set(own) - set(useful_weights(own)) == of_the_person


def test_it_needs_channels_for_colour_and_coverage() -> None:
    with pytest.raises(ValueError, match="texture_channels: the photo design needs 4, got 3"):
        build_generator(GeneratorConfig(resolution=128, design="photo", texture_channels=3))
