from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import models
from models.generator import (
    CONDITIONING_CHANNELS,
    FIRST_DESIGN,
    GeneratorConfig,
    SpaceTimeGenerator,
    StreamingStep,
    build_generator,
    into_blocks,
    out_of_blocks,
)
from models.training import adopt

SMALL = GeneratorConfig(
    resolution=128, window=3, stem_channels=4, widths=(8, 8, 12, 12, 16), texture_channels=4, texture_size=(16, 24),
    detail_channels=4,
)  # fmt: skip


def small(config: GeneratorConfig = SMALL) -> SpaceTimeGenerator:
    torch.manual_seed(0)
    return build_generator(config).requires_grad_(False).eval()


def frames(count: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, count, CONDITIONING_CHANNELS, 128, 128, generator=torch.Generator().manual_seed(2))


def test_a_step_gives_what_the_whole_window_gives() -> None:
    generator, window = small(), frames(3)
    past = torch.stack([generator.stem(window[:, index]) for index in range(2)], 1)
    image, stem = StreamingStep(generator)(window[:, -1], past)
    torch.testing.assert_close(image, generator(window), atol=1e-5, rtol=0)
    torch.testing.assert_close(stem, generator.stem(window[:, -1]))


def test_the_stem_of_a_reduced_frame_is_the_stem() -> None:
    generator, frame = small(), frames(1)[:, 0]
    reduced = torch.nn.functional.avg_pool2d(frame, 4)
    torch.testing.assert_close(generator.stem_reduced(reduced), generator.stem(frame))


def test_pictures_are_in_0_to_1_for_every_frame_of_a_batch() -> None:
    images = small()(frames(3, batch=2))
    assert images.shape == (2, 3, 128, 128)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    torch.testing.assert_close(images[1:], small()(frames(3, batch=2)[1:]), atol=1e-5, rtol=0)


def test_a_dropped_image_makes_no_difference_and_the_others_do() -> None:
    generator = small(GeneratorConfig(**{**SMALL.to_json(), "dropped": ("gaze",)}))
    window = frames(3)
    changed = window.clone()
    changed[:, :, 6:9] = 0.5
    torch.testing.assert_close(generator(window), generator(changed))
    changed[:, -1, 0:3] = 0.5
    assert float((generator(window) - generator(changed)).abs().max()) > 1e-4


def test_the_config_survives_json() -> None:
    config = GeneratorConfig(resolution=512, window=7, dropped=("gaze",), has_own_eyes=True)
    assert GeneratorConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 200}, "resolution: expected a multiple of 128, got 200"),
        ({"window": 0}, "window"),
        ({"widths": [32, "x"]}, "widths must be whole numbers from 1 to 4096"),
        ({"texture_size": [1 << 20, 4]}, "texture_size must be whole numbers"),
        ({"dropped": ["hair"]}, r"dropped: unknown conditioning images \['hair'\]"),
        ({"design": "grand"}, "design: expected one of photo, lean, full, got 'grand'"),
        ({"design": "full", "magnification": 2}, "magnification: expected 1, or 2 but of the full design"),
        ({"magnification": 2}, "resolution: expected a multiple of 256, got 128"),
        ({"widths": [8, 8]}, "expected 5 widths"),
        ({"has_own_eyes": 1}, "has_own_eyes must be true or false, got 1"),
        ({"layers": 5}, r"unknown fields \['layers'\]"),
    ],
)
def test_a_config_out_of_range_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorConfig.from_json({**json.loads(json.dumps(SMALL.to_json())), **changes})


def test_another_length_of_window_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a window of 3, got 4"):
        small()(frames(4))


@pytest.mark.parametrize("design", ["lean", "full"])
def test_an_untrained_generator_paints_and_does_not_only_show_its_plate(design: str) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        generator = build_generator(GeneratorConfig(resolution=128, window=1, design=design))
        frames = torch.rand(1, 1, 9, 128, 128)
        with torch.no_grad():
            generator.plate.fill_(0.0)
            dark = generator(frames)
            generator.plate.fill_(1.0)
            assert (generator(frames) - dark).mean() < 0.3  # the share of the plate


def test_a_size_has_its_design_and_milo_can_be_the_base_of_what_is_trained() -> None:
    small, large = GeneratorConfig.of_size(256, window=7), GeneratorConfig.of_size(512)
    assert (small.design, small.magnification, small.window) == ("photo", 1, 7)
    assert (large.design, large.magnification, large.trunk_size) == ("photo", 2, 256)
    assert GeneratorConfig.of_size(512, design="full").magnification == 1
    assert GeneratorConfig.of_size(256, design="full").widths == (32, 64, 96, 128, 128)
    milo = load_file(Path(models.__file__).parent / "actors" / "milo.actor" / "generator.safetensors")
    for config in (small, large):
        shapes = {name: value.shape for name, value in build_generator(config).state_dict().items()}
        shared = [name for name in milo if shapes.get(name) == milo[name].shape]
        assert len(shared) > 0.9 * len(milo)


def test_a_config_of_before_there_were_designs_is_the_first_design() -> None:
    old = {name: value for name, value in SMALL.to_json().items() if name not in FIRST_DESIGN}
    config = GeneratorConfig.from_json(json.loads(json.dumps(old)))
    assert (config.design, config.magnification) == ("full", 1)
    assert "detail.weight" in small(config).state_dict()


def test_blocks_are_undone() -> None:
    image = torch.rand(2, 5, 8, 12)
    blocks = into_blocks(image, 2)
    assert blocks.shape == (2, 20, 4, 6)
    torch.testing.assert_close(blocks[0, 5:10, 1, 2], image[0, :, 2, 5])  # the second pixel of a block's first row
    torch.testing.assert_close(out_of_blocks(blocks, 2), image)


def test_at_twice_the_size_the_picture_is_at_first_the_smaller_one_enlarged() -> None:
    large_config = dataclasses.replace(SMALL, resolution=256, magnification=2)
    large, little = small(large_config), small()
    adopt(large, little.state_dict())
    with torch.no_grad():
        large.fine_paint.weight.zero_()  # type: ignore[union-attr, operator]
        large.plate.fill_(0.5)
        little.plate.fill_(0.5)
        window = frames(3)
        enlarged = torch.nn.functional.interpolate(window[0], scale_factor=2.0, mode="nearest")[None]
        wanted = torch.nn.functional.interpolate(little(window), scale_factor=2.0, mode="nearest")
        # Texture between coarse pixels is looked up between them: alike where codes are, here at random, is enough.
        assert float((large(enlarged) - wanted).abs().max()) < 1e-4


def test_every_part_of_the_lean_design_learns() -> None:
    torch.manual_seed(0)
    generator = build_generator(dataclasses.replace(SMALL, resolution=256, magnification=2))
    torch.nn.init.normal_(generator.state_dict()["summary_out.weight"], 0.0, 0.1)
    shape = (1, 3, CONDITIONING_CHANNELS, 256, 256)
    generator(torch.rand(shape)).square().sum().backward()
    still = [name for name, value in generator.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []
