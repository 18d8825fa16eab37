from __future__ import annotations

import json

import pytest
import torch

from models.generator import CONDITIONING_CHANNELS, GeneratorConfig, SpaceTimeGenerator, StreamingStep

SMALL = GeneratorConfig(
    resolution=128, window=3, stem_channels=4, widths=(8, 8, 12, 12, 16), texture_channels=4, texture_size=(16, 24),
    detail_channels=4,
)  # fmt: skip


def small(config: GeneratorConfig = SMALL) -> SpaceTimeGenerator:
    torch.manual_seed(0)
    return SpaceTimeGenerator(config).requires_grad_(False).eval()


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
    config = GeneratorConfig(resolution=512, window=7, dropped=("gaze",))
    assert GeneratorConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 200}, "resolution: expected a multiple of 128, got 200"),
        ({"window": 0}, "window"),
        ({"widths": [32, "x"]}, "widths must be whole numbers from 1 to 4096"),
        ({"texture_size": [1 << 20, 4]}, "texture_size must be whole numbers"),
        ({"dropped": ["hair"]}, r"dropped: unknown conditioning images \['hair'\]"),
        ({"layers": 5}, r"unknown fields \['layers'\]"),
    ],
)
def test_a_config_out_of_range_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorConfig.from_json({**json.loads(json.dumps(SMALL.to_json())), **changes})


def test_another_length_of_window_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a window of 3, got 4"):
        small()(frames(4))


def test_an_untrained_generator_paints_and_does_not_only_show_its_plate() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        generator = SpaceTimeGenerator(GeneratorConfig(resolution=128, window=1))
        frames = torch.rand(1, 1, 9, 128, 128)
        with torch.no_grad():
            generator.plate.fill_(0.0)
            dark = generator(frames)
            generator.plate.fill_(1.0)
            assert (generator(frames) - dark).mean() < 0.3  # the share of the plate
