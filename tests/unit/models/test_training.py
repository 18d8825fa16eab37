from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from models.training import choose_device, follow, read_checkpoint, write_checkpoint


def test_devices_are_checked() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="expected auto, cpu or cuda, got tpu"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_missing_device_is_said() -> None:
    with pytest.raises(ValueError, match="no CUDA device"):
        choose_device("cuda")


def test_an_average_follows_quickly_at_first_and_takes_counters_over() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(11.0)
        network.running_mean.fill_(10.0)  # type: ignore[union-attr]
        network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    follow(average, network, 0.99, step=0)
    torch.testing.assert_close(average.weight.detach(), torch.full((2,), 10.0))  # nine tenths of the way
    torch.testing.assert_close(average.running_mean, torch.full((2,), 9.0))
    assert int(average.num_batches_tracked or 0) == 7
    follow(average, network, 0.99, step=10_000)
    torch.testing.assert_close(average.weight.detach(), torch.full((2,), 10.01))


def test_a_checkpoint_comes_back_and_leaves_no_scratch(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, torch.device("cpu")) is None
    write_checkpoint({"step": 3, "weights": {"w": torch.ones(2)}}, tmp_path)
    state = read_checkpoint(tmp_path, torch.device("cpu"))
    assert state is not None
    assert state["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
