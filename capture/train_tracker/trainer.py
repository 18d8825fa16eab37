"""The training loop of the regressor and the levels."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from capture.formation_losses import LossWeights
from capture.train_tracker.first_levels import first_levels
from capture.train_tracker.mesh_weights import load_mesh_weights
from capture.train_tracker.objective import Frames, TrackerObjective
from capture.train_tracker.processes import Processes
from capture.train_tracker.reservoir import Reservoir
from capture.train_tracker.supervision import Truth
from capture.train_tracker.video_faces import VideoFaces
from models.face import FaceModel
from models.levels import FaceLevels, LevelsConfig
from models.regressor import FaceRegressor, RegressorConfig
from models.training import follow, read_checkpoint, write_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerTrainingConfig:
    """Recipe of one training run; shares are of its budget."""

    minutes: float = 45.0
    """Time budget, over all resumptions."""
    steps: int = 0
    """Budget in steps instead of time, where runs are to be compared; 0 for time."""
    batch: int = 48
    """Synthetic faces in a step of one process."""
    learning_rate: float = 2e-3
    """Peak step of Adam for the regressor, reached after the first 3 % and falling as a cosine to 1 % of itself."""
    trunk_rate: float = 5e-4
    """The same for the trunk, which begins with what MediaPipe's face mesh knows of real faces."""
    levels_rate: float = 2e-3
    """The same for the levels' bases, in mm and hundredths of albedo."""
    decay: float = 1e-4
    """Weight decay of the regressor."""
    average: float = 0.998
    """Share of the old weights that the running average keeps in a step."""
    clip: float = 10.0
    """Longest gradient of a step."""
    reservoir: int = 20480
    """Synthetic faces kept to be drawn again."""
    first_faces: int = 768
    """Synthetic faces from which the levels begin."""
    frames: int = 16
    """Video frames in a step of one process, in the second phase."""
    frames_from: float = 0.6
    """Share at which the second phase begins: self-supervision on video, where there is any."""
    frames_weight: float = 0.3
    """Weight of the self-supervised loss beside the supervised one."""
    last_rounding: float = 0.15
    """Scale, at the end, of the errors below which squares are compared: from the mean of what cannot be told, which
    has a slope everywhere, to its median, which errs least."""
    is_trunk_known: bool = True
    """Whether the trunk begins with the weights in MediaPipe's package, its first layers held, or from nothing."""
    seed: int = 2018
    """Seed of weights and order."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the terms."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.steps < 0 or min(self.batch, self.frames, self.first_faces, self.reservoir) < 1:
            raise ValueError(
                "training: expected minutes > 0, steps >= 0 and a batch, frames, first_faces, reservoir of 1 or more,"
                f" got {self.minutes}, {self.steps}, {self.batch}, {self.frames}, {self.first_faces}, {self.reservoir}"
            )


class TrackerTrainer:
    """One run: the objective, the regressor's running average and the optimiser, with all that it takes to go on."""

    def __init__(
        self,
        config: TrackerTrainingConfig,
        regressor: RegressorConfig,
        model: FaceModel,
        faces: Reservoir,
        videos: VideoFaces | None,
        folder: Path,
        processes: Processes,
        begin: Path | None = None,
    ) -> None:
        """Make the networks, or go on from the checkpoint in `folder`, or else with the weights in `begin`.

        Raises `ValueError` for weights of another network, `FileNotFoundError` where there are none.
        """
        torch.manual_seed(config.seed)
        self.config, self.model, self.folder, self.processes = config, model, folder, processes
        self._faces, self._videos = faces, videos
        self.rng = np.random.default_rng((config.seed, processes.rank))
        self.spent_s, self.step = 0.0, 0
        self.losses: dict[str, float] = {}
        state = read_checkpoint(folder, processes.device)
        sizes = LevelsConfig(geometry=regressor.geometry_levels, reflectance=regressor.reflectance_levels)
        levels, usual_px = FaceLevels.empty(model, sizes), None
        known = FaceRegressor.load(begin / REGRESSOR) if begin is not None and state is None else None
        if begin is not None and known is not None:
            levels = FaceLevels.load(begin / LEVELS)
        elif state is None:
            levels, usual_px = self._begin(sizes)
        self.objective = TrackerObjective(model, regressor, levels, config.weights)
        network = self.objective.regressor
        if known is not None:
            if known.config != regressor:
                raise ValueError(f"{begin}: the regressor there has other sizes: {known.config}")
            network.load_state_dict(known.state_dict())
        elif usual_px is not None:
            network.settle(torch.from_numpy(usual_px))
            if config.is_trunk_known:
                load_mesh_weights(network.trunk)
        # Edges and spots look alike on all faces: what sees them stays as it came, and costs no way back.
        for module in (network.trunk.enter, network.trunk.fine, network.trunk.stages[0]):
            module.requires_grad_(not config.is_trunk_known)
        self.objective.to(processes.device)
        self.average = FaceRegressor(regressor).to(processes.device)
        self.average.load_state_dict(self.objective.regressor.state_dict())
        self.average.requires_grad_(False).eval()
        trunk = [parameter for parameter in network.trunk.parameters() if parameter.requires_grad]
        rest = [parameter for name, parameter in network.named_parameters() if not name.startswith("trunk.")]
        levels_bases = list(self.objective.formation.parameters())
        groups: list[dict[str, Any]] = [
            {"params": trunk, "rate": config.trunk_rate, "weight_decay": 0.0},
            {"params": rest, "rate": config.learning_rate, "weight_decay": config.decay},
            {"params": levels_bases, "rate": config.levels_rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self._module: nn.Module = self.objective
        if state is not None:
            self._restore(state)
        if processes.count > 1:
            self._module = DistributedDataParallel(self.objective)
        # Every process draws noise and vertices of its own.
        torch.manual_seed(config.seed + 1000 * self.step + processes.rank)

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1; the same in all processes."""
        if self.config.steps:
            return min(1.0, self.step / self.config.steps)
        return min(1.0, self.spent_s / (60.0 * self.config.minutes))

    @property
    def has_frames(self) -> bool:
        """Whether the second phase has begun."""
        return self._videos is not None and self.share >= self.config.frames_from

    def run_step(self) -> None:
        """Draw a batch, update the regressor, its average and the levels."""
        began = time.monotonic()
        self._set_learning_rate()
        self.objective.rounding = 1.0 + (self.config.last_rounding - 1.0) * self.share
        truth = Truth.from_arrays(self._faces.draw(self.config.batch, self.rng), self.processes.device)
        terms: dict[str, Tensor] = self._module(truth, self._draw_frames())
        total = self._total(terms)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip)
        self.optimizer.step()
        self.objective.formation.hold_eyeballs()
        follow(self.average, self.objective.regressor, self.config.average, self.step)
        self._note({"total": total} | terms)
        self.step += 1
        self.spent_s = self.processes.agree(self.spent_s + time.monotonic() - began)

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        own = {name: term * self.config.frames_weight for name, term in terms.items() if name in SELF_SUPERVISED}
        return torch.stack(list((terms | own).values())).sum()

    def _draw_frames(self) -> Frames | None:
        if self._videos is None or not self.has_frames:
            return None
        return Frames.from_arrays(*self._videos.draw(self.config.frames, self.rng), self.processes.device)

    def _set_learning_rate(self) -> None:
        share = self.share
        factor = min(1.0, share / 0.03 + 0.02) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor

    def _note(self, terms: dict[str, Tensor]) -> None:
        values = torch.stack([term.detach() for term in terms.values()]).tolist()
        for name, value in zip(terms, values, strict=True):
            self.losses[name] = 0.95 * self.losses.get(name, value) + 0.05 * value

    def _begin(self, sizes: LevelsConfig) -> tuple[FaceLevels, NDArray[np.float32]]:
        """Give the first levels and where landmarks usually lie, `[478, 2]` pixels, of the first synthetic faces.

        Every process begins as the first one does.
        """
        count = self.config.first_faces
        faces = self._faces.draw(2 * count, self.rng, at_least=count)
        chosen = np.flatnonzero(faces["confidence"] > 0.5)[:count]
        known = {name: faces[name][chosen] for name in ("identity", "vertices", "reflectance", "albedo")}
        usual_px = faces["landmarks"][chosen].mean(0).astype(np.float32)
        return self.processes.share(lambda: (first_levels(self.model, sizes, **known), usual_px))

    def save(self) -> None:
        """Write a checkpoint beside the old one, then put it in its place; the first process does it for all."""
        if self.processes.rank:
            return
        state = {
            "objective": self.objective.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "spent_s": self.spent_s, "step": self.step,
        }  # fmt: skip
        write_checkpoint(state, self.folder)

    def _restore(self, state: dict[str, Any]) -> None:
        for name in ("objective", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.spent_s, self.step = float(state["spent_s"]), int(state["step"])
        self.rng = np.random.default_rng((self.config.seed, self.processes.rank, self.step))

    def export(self, folder: Path) -> None:
        """Write `regressor.safetensors` (the running average) and `face_levels.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.average.save(folder / REGRESSOR, steps=str(self.step))
        self.objective.formation.levels().save(folder / LEVELS)


REGRESSOR, LEVELS = "regressor.safetensors", "face_levels.safetensors"
SELF_SUPERVISED = frozenset({"photometric", "landmarks", "prior", "stabilization", "sparsity", "constancy"})
"""Terms that come from video frames."""
