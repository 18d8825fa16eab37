"""The training loop of a target's generator.

The conditional GAN of Deep Video Portraits (section 5.2) on a budget: photometric loss from the start, perceptual loss
on crops soon after, and at the end a patch critic and a temporal critic. The schedule depends on the share of the
budget that is spent, so that five minutes and an hour are the same recipe.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from capture.train_tracker.processes import Processes
from models.discriminator import PatchDiscriminator
from models.generator import GeneratorConfig, build_generator
from models.losses import PerceptualLoss, hinge_critic, hinge_generator, importance, photometric
from models.photo_generator import PhotoGenerator, useful_weights
from models.training import adopt, follow, has_bfloat16, read_checkpoint, write_checkpoint
from reenact.changing_look import find_changes
from reenact.conditioning import CHANNELS
from reenact.first_look import FirstLook
from reenact.training_set import Batch, TrainingSet

MAP_STEPS = (4.0, 4.0)
"""Step of Adam on the texture, and on the plate, beside the network's: each texel is seen in few frames, and has to
keep up with a network that knows nothing."""
PHOTO_STEPS = (0.5, 0.1)
"""The same where they begin as what they show: Adam moves what is right as far as what is wrong, and that is noise. Of
d6, at 128 pixels after 250 steps, LPIPS of held-out frames is 0.142 with the steps above, and 0.116 with these."""
LONGEST_STEP_S = 20.0
"""What one step may take of the time budget."""

STEADY = 0.75
"""Share of a run up to which it can be found to rise no more: behind it, it ends of itself."""
RISE_DB, RISE_SHARE = 0.05, 0.01
"""What counts as a better score: so much more PSNR, or such a share less of LPIPS."""
LPIPS_FRAMES = 6
"""Frames whose LPIPS is taken each time: it costs as much as a step."""
STEPS_APART = 100
"""Steps between scores that are compared: a run that others leave little of the machine is judged by the clock, but has
not had the time to rise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Recipe of one training run; shares are of its budget."""

    minutes: float = 60.0
    """Time budget, over all resumptions."""
    steps: int = 0
    """Budget in steps instead of time, where runs are to be compared; 0 for time."""
    batch: int = 2
    """Frames in a step."""
    learning_rate: float = 1e-3
    """Peak step of Adam, reached after the first 2 % and falling as a cosine to 2 % of itself."""
    perceptual_from: float = 0.05
    """Share at which the perceptual loss joins."""
    perceptual_weight: float = 1.0
    """Weight of the perceptual loss beside the photometric one."""
    perceptual_stages: int = 5
    """Stages of VGG16 that it compares: all that LPIPS does."""
    perceptual_crops: int = 2
    """Crops compared in a step."""
    crop: int = 112
    """Side of a crop in pixels at 256, scaled with the resolution."""
    adversarial_from: float = 0.85
    """Share at which the critics join; 1 leaves them out."""
    adversarial_weight: float = 0.002
    """Weight of the patch critic."""
    temporal_weight: float = 0.001
    """Weight of the temporal critic."""
    scale_limit: float = 8.0
    """Largest root mean square of the decoder's last features that costs nothing; see `Trainer.run_step`."""
    scale_weight: float = 0.01
    """Weight of the logarithm of what is beyond it."""
    patience: int = 6
    """Judgements in a row, `STEPS_APART` or more from each other, without a better score after which the run comes to
    its end; 0 for never."""
    average: float = 0.999
    """Share of the old weights that the running average keeps in a step."""
    seed: int = 2018
    """Seed of weights, order and crops."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.batch < 1 or self.steps < 0:
            raise ValueError(
                "training: expected minutes > 0, batch >= 1 and steps >= 0,"
                f" got {self.minutes}, {self.batch}, {self.steps}"
            )


class Trainer:
    """One run: generator, its running average, critics and optimisers, with everything needed to go on later."""

    def __init__(
        self,
        config: TrainingConfig,
        generator: GeneratorConfig,
        data: TrainingSet,
        folder: Path,
        processes: Processes,
        base: Mapping[str, Tensor] | None = None,
        first: FirstLook | None = None,
    ) -> None:
        """Take the weights of another target's network as `base` to start from, where names and shapes are alike.

        A photo generator begins with the target's `first` look.
        """
        device = processes.device
        torch.manual_seed(config.seed)
        self.config, self.data, self.folder, self.device = config, data, folder, device
        self.processes = processes
        self.rng = np.random.default_rng((config.seed, processes.rank))
        self.generator = place(build_generator(generator), device)
        photo = self.generator if isinstance(self.generator, PhotoGenerator) else None
        if base is not None:
            adopt(self.generator, base if photo is None else useful_weights(base))
        with torch.no_grad():
            self.generator.own_shape.copy_(torch.from_numpy(data.recording.shape))
            self.generator.teeth_rise.copy_(torch.from_numpy(data.recording.teeth_rise))
            self.generator.plate.copy_((data.median_picture() if first is None else first.plate)[None])
        if photo is not None and first is not None:
            photo.begin(first.colors, first.coverage, first.halo)
            if generator.change_size:
                changes = find_changes(data, first, generator.change_size)
                photo.begin_changing(changes.maps, changes.offset, changes.face_range, changes.bounds)
            # A texel that is hardly ever seen would be thrown far by Adam's few steps: it stays as its neighbours are.
            is_seen = first.is_seen.to(device)
            photo.texture.register_hook(lambda gradient: gradient * is_seen)  # type: ignore[no-untyped-call]
        self.average = place(build_generator(generator), device)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False).eval()
        self.is_mixed = has_bfloat16(device)
        self.features: Tensor | None = None
        self.generator.last_features.register_forward_hook(self._see_features)
        self.patch_critic = PatchDiscriminator(3 + CHANNELS).to(device)
        self.time_critic = PatchDiscriminator(2 * (3 + CHANNELS)).to(device)
        maps = [self.generator.texture, self.generator.canvas]
        chosen = {id(parameter) for parameter in (*maps, self.generator.plate)}
        fast = [parameter for parameter in self.generator.parameters() if id(parameter) not in chosen]
        steps = MAP_STEPS if photo is None else PHOTO_STEPS
        self.optimizer = torch.optim.Adam(
            [
                {"params": fast, "scale": 1.0},
                {"params": maps, "scale": steps[0]},
                {"params": [self.generator.plate], "scale": steps[1]},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        critics = [*self.patch_critic.parameters(), *self.time_critic.parameters()]
        self.critic_optimizer = torch.optim.Adam(critics, lr=2e-4, betas=(0.5, 0.99))
        self.perceptual: PerceptualLoss | None = None
        self.spent_s = 0.0
        self.step = 0
        self.end = 1.0
        """Share of the budget at which the run ends: less than all of it once its score no longer rises."""
        self.scores: list[dict[str, float]] = []
        """`step`, `minutes` of training and, on held-out frames, `psnr` in dB and `lpips`, each time it was judged."""
        self.queue: list[int] = []
        self.losses: dict[str, float] = {}

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        if self.config.steps:
            return min(1.0, self.step / self.config.steps)
        return min(1.0, self.spent_s / (60 * self.config.minutes))

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1; the recipe goes by it."""
        return min(1.0, self.share / self.end)

    def is_done(self) -> bool:
        """Say whether the run is at its end; all processes hear the first one's clock, and say the same."""
        self.spent_s, self.end = self.processes.agree(self.spent_s), self.processes.agree(self.end)
        return self.progress >= 1

    def judge(self, frames: NDArray[np.int64]) -> dict[str, float]:
        """Score the run on held-out `frames`, and let it come to its end where the score has stopped rising.

        That score is LPIPS once it is trained on, for PSNR falls while pictures get better then. The learning rate is
        far from its end at that time, and what a falling one still brings is worth its time: the rest of the recipe is
        not left out but drawn together.
        """
        score = {"psnr": self.psnr(frames)}
        if self.perceptual is not None:
            score["lpips"] = self.lpips(frames[:: max(1, len(frames) // LPIPS_FRAMES)])
        self.scores.append({"step": self.step, "minutes": self.spent_s / 60, **score})
        late = self.config.patience
        values = self._steady_scores()
        if late and self.progress < STEADY and len(values) > late and max(values[-late:]) < max(values[:-late]) + 1.0:
            self.end = self.share / STEADY
        return score

    def _steady_scores(self) -> list[float]:
        """Give the scores that tell whether the run still rises, in units of what counts as better."""
        is_perceptual = self.config.perceptual_from < 1.0
        values: list[float] = []
        counted = -float(STEPS_APART)
        for score in self.scores:
            if score["step"] - counted >= STEPS_APART and (not is_perceptual or "lpips" in score):
                values.append(math.log(1.0 / score["lpips"]) / RISE_SHARE if is_perceptual else score["psnr"] / RISE_DB)
                counted = score["step"]
        return values

    def run_step(self) -> None:
        """Draw a batch, update the generator, its average and, late in the run, the critics.

        A young generator is worse than the plate it may hide, and every layer learns at once to help it out of sight:
        within twenty steps its features can grow by a factor of a thousand and more, and the sigmoids behind them have
        no slope left to come back by. So features beyond a limit cost their logarithm, whose slope never ends.
        """
        began = time.monotonic()
        self._set_learning_rate()
        frames = self._draw(self.config.batch)
        batch = self.data.batch(frames, self.device)
        losses: dict[str, Tensor] = {}
        output = self._generate(batch)
        lesson = batch.lesson(output)
        losses["photometric"] = photometric(output, lesson, importance(batch.current))
        losses["scale"] = self._beyond_scale()
        total = losses["photometric"] + self.config.scale_weight * losses["scale"]
        if self.progress >= self.config.perceptual_from:
            losses["perceptual"] = self._perceptual(output, lesson)
            total = total + self.config.perceptual_weight * losses["perceptual"]
        if self.progress >= self.config.adversarial_from:
            total = total + self._adversarial(frames, batch, output, losses)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.generator.parameters())
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        self.optimizer.step()
        follow(self.average, self.generator, self.config.average, self.step)
        for name, value in losses.items():
            self.losses[name] = 0.98 * self.losses.get(name, float(value.detach())) + 0.02 * float(value.detach())
        self.step += 1
        # A process that was stopped meanwhile, for the sake of others, has not spent that time.
        self.spent_s += min(time.monotonic() - began, LONGEST_STEP_S)

    def _generate(self, batch: Batch) -> Tensor:
        reduced = batch.reduced.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            stems = self.generator.stem_reduced(reduced)
            stems = stems.reshape(*batch.reduced.shape[:2], *stems.shape[1:])
            output = self.generator.decode(batch.current, stems, batch.face)
        return output.float()

    def _autocast(self) -> torch.autocast:
        """Compute in bfloat16 where the device does so faster than in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_mixed)

    def _see_features(self, _module: nn.Module, _inputs: object, features: Tensor) -> None:
        self.features = features

    def _beyond_scale(self) -> Tensor:
        """Give how far the last generated features are beyond the limit, in e-folds; 0 within it."""
        if self.features is None:
            raise RuntimeError("nothing was generated")
        scale = self.features.float().square().mean().sqrt()
        self.features = None
        return nn.functional.relu(torch.log(scale / self.config.scale_limit))

    def _perceptual(self, output: Tensor, truth: Tensor) -> Tensor:
        if self.perceptual is None:
            self.perceptual = place(PerceptualLoss(self.config.perceptual_stages), self.device)
        size = output.shape[-1]
        side = self.config.crop * size // 256
        crops, wanted = [], []
        for index in self.rng.permutation(len(output))[: self.config.perceptual_crops]:
            row = int(self.rng.integers(0, size - side + 1))
            # Faces are near the middle: crops there are drawn more often.
            column = int(np.clip(self.rng.normal(0.5, 0.22) * size - side / 2, 0, size - side))
            crops.append(output[index, :, row : row + side, column : column + side])
            wanted.append(truth[index, :, row : row + side, column : column + side])
        with self._autocast():
            loss: Tensor = self.perceptual(
                torch.stack(crops).contiguous(memory_format=torch.channels_last),
                torch.stack(wanted).contiguous(memory_format=torch.channels_last),
            )
        return loss

    def _adversarial(
        self, frames: NDArray[np.int64], batch: Batch, output: Tensor, losses: dict[str, Tensor]
    ) -> Tensor:
        """Train the critics on this batch; give what they make of the generator's pictures, weighted."""
        half = max(1, len(frames) // 2)
        before_frames = self._before(frames[:half])
        before = self.data.batch(before_frames, self.device)
        before_output = self._generate(before)
        current, truth = batch.current, batch.lesson(output)
        pair = torch.cat([before.current, current[:half]], 1)
        real_pair = torch.cat([before.lesson(before_output), truth[:half]], 1)
        fake_pair = torch.cat([before_output, output[:half]], 1)
        with self._autocast():
            patch = hinge_critic(
                self.patch_critic(truth, current).float(), self.patch_critic(output.detach(), current).float()
            )
            temporal = hinge_critic(
                self.time_critic(real_pair, pair).float(), self.time_critic(fake_pair.detach(), pair).float()
            )
        self.critic_optimizer.zero_grad(set_to_none=True)
        (patch + temporal).backward()  # type: ignore[no-untyped-call]
        for critic in (self.patch_critic, self.time_critic):
            self.processes.average_gradients(critic.parameters())
        self.critic_optimizer.step()
        for critic in (self.patch_critic, self.time_critic):
            critic.requires_grad_(False)
        with self._autocast():
            fooled = hinge_generator(self.patch_critic(output, current).float())
            fooled_in_time = hinge_generator(self.time_critic(fake_pair, pair).float())
        for critic in (self.patch_critic, self.time_critic):
            critic.requires_grad_(True)
        losses["critic"], losses["time_critic"] = patch.detach(), temporal.detach()
        # The critics know nothing at first: let them in over a tenth of the run.
        ramp = min(1.0, (self.progress - self.config.adversarial_from) / 0.1)
        return ramp * (self.config.adversarial_weight * fooled + self.config.temporal_weight * fooled_in_time)

    def _before(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the pictured training frame before each of `frames`, or itself at the start."""
        training = self.data.recording.training
        return training[np.maximum(np.searchsorted(training, frames) - 1, 0)]

    def _draw(self, count: int) -> NDArray[np.int64]:
        while len(self.queue) < count:
            self.queue += self.rng.permutation(self.data.recording.training).tolist()
        drawn, self.queue = self.queue[:count], self.queue[count:]
        return np.array(drawn, np.int64)

    def _set_learning_rate(self) -> None:
        share = self.progress
        factor = min(1.0, share / 0.02 + 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor * group["scale"]

    def predict(self, frames: NDArray[np.int64]) -> Tensor:
        """Generate `frames` with the averaged weights: `[B, 3, H, W]` in 0 to 1 on the CPU."""
        outputs = []
        with torch.no_grad():
            for start in range(0, len(frames), 8):
                batch = self.data.batch(frames[start : start + 8], self.device)
                stems = self.average.stem_reduced(batch.reduced.flatten(0, 1))
                stems = stems.reshape(*batch.reduced.shape[:2], *stems.shape[1:])
                outputs.append(self.average.decode(batch.current, stems, batch.face).cpu())
        return torch.cat(outputs)

    def save(self) -> None:
        """Write a checkpoint beside the old one, then put it in its place."""
        state = {
            "generator": self.generator.state_dict(), "average": self.average.state_dict(),
            "patch_critic": self.patch_critic.state_dict(), "time_critic": self.time_critic.state_dict(),
            "optimizer": self.optimizer.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict(),
            "spent_s": self.spent_s, "step": self.step, "end": self.end, "scores": self.scores,
        }  # fmt: skip
        write_checkpoint(state, self.folder)

    def resume(self) -> bool:
        """Go on from this folder's checkpoint, if there is one."""
        state = read_checkpoint(self.folder, self.device)
        if state is None:
            return False
        for name in ("generator", "average", "patch_critic", "time_critic", "optimizer", "critic_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.spent_s, self.step = float(state["spent_s"]), int(state["step"])
        self.end, self.scores = float(state.get("end", 1.0)), list(state.get("scores", []))
        self.rng = np.random.default_rng((self.config.seed, self.processes.rank, self.step))
        return True

    def psnr(self, frames: NDArray[np.int64]) -> float:
        """Average PSNR in dB of the averaged generator on `frames`."""
        truth = self.data.pictures(frames).float() / 255.0
        errors = (self.predict(frames) - truth).square().mean((1, 2, 3))
        return float((-10 * errors.log10()).mean())

    def lpips(self, frames: NDArray[np.int64]) -> float:
        """Average distance of the averaged generator's `frames` from the truth, by what it is trained on of LPIPS."""
        if self.perceptual is None:
            raise RuntimeError("the perceptual loss has not joined yet")
        distances = []
        with torch.no_grad():
            for frame in frames:
                one = np.array([frame])
                truth = self.data.pictures(one).to(self.device).float() / 255.0
                distances.append(float(self.perceptual(self.predict(one).to(self.device), truth)))
        return float(np.mean(distances))

    def compare(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Give what the averaged generator makes of `frames`, and the truth, each `[N, H, W, 3]` uint8."""
        outputs = (self.predict(frames).clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        return outputs.permute(0, 2, 3, 1).numpy(), self.data.pictures(frames).permute(0, 2, 3, 1).numpy()

    def draw_grid(self, frames: NDArray[np.int64], path: Path) -> None:
        """Write rows of truth, output and error (four times) of `frames` as one picture."""
        truth = self.data.pictures(frames).float() / 255.0
        output = self.predict(frames).clamp(0, 1)
        rows = torch.cat([truth, output, ((output - truth).abs() * 4).clamp(0, 1)], 2)
        grid = torch.cat(list(rows), 2).permute(1, 2, 0).numpy()
        part = path.with_suffix(".part")
        Image.fromarray((grid * 255 + 0.5).astype(np.uint8)).save(part, "PNG")
        part.replace(path)


Module = TypeVar("Module", bound=nn.Module)


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` in the memory format that convolutions like best."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
