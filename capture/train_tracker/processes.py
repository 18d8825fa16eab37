"""The processes of a run: one for each GPU under `torchrun`, else one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Self, TypeVar

import torch
import torch.distributed as dist

Made = TypeVar("Made")


class Processes:
    """What a process must know of the others. Use as a context manager."""

    def __init__(self, device: torch.device) -> None:
        """Join the others if `torchrun` started this process (`WORLD_SIZE` above 1)."""
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        """Processes in the run."""
        self.rank = int(os.environ.get("RANK", "0"))
        """Number of this process; 0 writes files and shows progress."""
        self.device = device
        """What this process computes on."""
        if device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if self.count > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def agree(self, value: float) -> float:
        """Give all processes the first one's `value`."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients]) / self.count
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def share(self, make: Callable[[], Made]) -> Made:
        """Let the first process make something, and give it to all."""
        if self.count == 1:
            return make()
        made = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(made, 0)
        result = made[0]
        assert result is not None
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            dist.destroy_process_group()
