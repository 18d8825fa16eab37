from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from models.halo import HEAD_ROWS_M
from models.photo_generator import LATER
from reenact import signing
from reenact.actor import MANIFEST, PREVIEW, WEIGHTS, Actor, ActorError, find_actor, list_actors, save_actor
from reenact.consent import Consent
from tests.unit.reenact.make import make_actor, make_generator, make_preview, make_target

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_actor(tmp_path_factory.mktemp("actors")).folder


@pytest.fixture
def package(pristine: Path, tmp_path: Path) -> Path:
    """A package of one's own to damage."""
    return Path(shutil.copytree(pristine, tmp_path / pristine.name))


def edit(package: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest and sign it, as the one who trained it could."""
    values = json.loads((package / MANIFEST).read_text())
    change(values)
    values.pop("signature")
    with contextlib.suppress(ValueError):  # NaN cannot be signed
        values["signature"] = signing.sign(values)
    (package / MANIFEST).write_text(json.dumps(values))


def sign(package: Path) -> None:
    """Write the files' true hashes into the manifest, and sign it."""

    def change(values: dict[str, Any]) -> None:
        for name, entry in values["files"].items():
            entry["sha256"] = hashlib.sha256((package / name).read_bytes()).hexdigest()

    edit(package, change)


def rewrite_weights(package: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load((package / WEIGHTS).read_bytes())
    change(weights)
    (package / WEIGHTS).write_bytes(save(weights))
    sign(package)


def test_what_was_saved_comes_back(package: Path) -> None:
    actor = Actor.load(package)
    assert (actor.name, actor.title, actor.resolution, actor.frame_rate) == ("tiny", "Tiny", 128, 30.0)
    assert actor.consent == Consent.of_nobody("nobody's face")
    assert actor.signer == signing.public_hex(signing.own_key())
    assert actor.license == "CC0-1.0"
    assert actor.preview_path.read_bytes() == make_preview()
    expected = make_generator().state_dict()
    for name, value in actor.load_generator().state_dict().items():
        torch.testing.assert_close(value, expected[name].half().float(), rtol=0, atol=0)
    target, wanted = actor.target, make_target()
    np.testing.assert_allclose(target.neutral.pack(), wanted.neutral.pack(), atol=1e-6)
    assert target.camera == wanted.camera
    for name in wanted.low:
        np.testing.assert_allclose(target.low[name], wanted.low[name], atol=1e-6)
        np.testing.assert_allclose(target.high[name], wanted.high[name], atol=1e-6)


def break_json(package: Path) -> None:
    (package / MANIFEST).write_text("{'name': ")


def flip_a_bit(package: Path) -> None:
    data = bytearray((package / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (package / WEIGHTS).write_bytes(data)


def truncate(package: Path) -> None:
    (package / WEIGHTS).write_bytes((package / WEIGHTS).read_bytes()[:-1000])
    sign(package)


def save_as_torch(package: Path) -> None:
    torch.save(load((package / WEIGHTS).read_bytes()), package / WEIGHTS)
    sign(package)


def save_as_pickle(package: Path) -> None:
    (package / WEIGHTS).write_bytes(pickle.dumps({"a": [1.0] * 100}))
    sign(package)


def link_elsewhere(package: Path) -> None:
    target = package.parent / "elsewhere"
    (package / WEIGHTS).rename(target)
    (package / WEIGHTS).symlink_to(target)


def replace_preview(package: Path) -> None:
    (package / PREVIEW).write_bytes(b"<svg onload='x()'/>")
    sign(package)


def fill_with_nan(package: Path) -> None:
    rewrite_weights(package, lambda weights: weights["fuse.weight"].view(-1)[3].fill_(float("nan")))


def reshape(package: Path) -> None:
    rewrite_weights(package, lambda w: w.update({"fuse.bias": torch.zeros(9, dtype=torch.float16)}))


def widen(package: Path) -> None:
    rewrite_weights(package, lambda w: w.update({"fuse.bias": w["fuse.bias"].float()}))


def set_value(*path: str, value: Any) -> Change:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return lambda package: edit(package, change)


DAMAGE: dict[str, tuple[Change, str]] = {
    "no manifest": (lambda p: (p / MANIFEST).unlink(), r"has no actor\.json: the package is not complete"),
    "no weights": (lambda p: (p / WEIGHTS).unlink(), r"has no generator\.safetensors: the package is not complete"),
    "no preview": (lambda p: (p / PREVIEW).unlink(), r"has no preview\.webp: the package is not complete"),
    "another file": (lambda p: (p / "setup.py").write_text(""), r"holds 'setup\.py', which is no part of an actor"),
    "a link": (link_elsewhere, r"generator\.safetensors is not a plain file"),
    "broken JSON": (break_json, r"actor\.json cannot be read as JSON"),
    "JSON that is a list": (lambda p: (p / MANIFEST).write_text("[1]"), r"actor\.json is not a JSON object"),
    "deep JSON": (lambda p: (p / MANIFEST).write_text("[" * 200_000), r"actor\.json cannot be read as JSON"),
    "huge JSON": (lambda p: (p / MANIFEST).write_text(" " * (1 << 21)), r"actor\.json is too large: 2097152 bytes"),
    "NaN in JSON": (set_value("target", "camera", "focal_px", value=float("nan")), r"NaN is not a number"),
    "another schema": (set_value("schema", value=99), r"has schema 99, and this version reads 1"),
    "unknown field": (set_value("script", value="x"), r"has the unknown field 'script'"),
    "missing field": (lambda p: edit(p, lambda v: v.pop("license")), r"lacks 'license'"),
    "half a character": (set_value("title", value="\ud800"), r"actor\.json cannot be read as JSON"),
    "name that is a path": (set_value("name", value="../tiny"), r"'\.\./tiny' is no name for an actor"),
    "another name": (set_value("name", value="other"), r"says that its name is 'other': folder and name must be"),
    "file that is a path": (
        set_value("files", "../../etc/passwd", value={"sha256": "0" * 64}), r"'files' names '\.\./\.\./etc/passwd'"
    ),
    "no hash": (set_value("files", WEIGHTS, value={}), r"'files' gives no SHA-256 for generator\.safetensors"),
    "frame rate of 0": (set_value("frame_rate", value=0), r"'frame_rate' must be a number from 1 to 240, and is 0"),
    "another resolution": (set_value("resolution", value=256), r"'resolution' must be the generator's, .* it is 256"),
    "huge network": (set_value("generator", "resolution", value=1 << 20), r"does not make sense: .*resolution must be"),
    "unknown setting of the network": (set_value("generator", "layers", value=3), r"unknown fields \['layers'\]"),
    "identity too short": (
        set_value("target", "neutral", "identity", value=[0.0] * 79),
        r"target\.neutral\.identity: expected shape \(80,\)",
    ),
    "text for a number": (
        set_value("target", "neutral", "rotation", value=["a", 0, 0]), r"target\.neutral\.rotation: expected numbers"
    ),
    "limits the wrong way": (
        set_value("target", "limits", "rotation", "low", value=[9, 9, 9]), r"limits of rotation: expected low <= high"
    ),
    "one bit": (flip_a_bit, r"generator\.safetensors was changed or damaged: its SHA-256 is"),
    "cut short": (truncate, r"generator\.safetensors is not a safetensors file"),
    "a PyTorch checkpoint": (save_as_torch, r"is a pickle \(a PyTorch checkpoint\), which could run code"),
    "a pickle": (save_as_pickle, r"is a pickle \(a PyTorch checkpoint\), which could run code"),
    "NaN in weights": (fill_with_nan, r"the tensor fuse\.weight holds values that are not finite"),
    "another shape": (reshape, r"the tensor fuse\.bias has shape \[9\], and the network needs \[12\]"),
    "another type": (widen, r"the tensor fuse\.bias is torch\.float32, and must be torch\.float16"),
    "a tensor missing": (
        lambda p: rewrite_weights(p, lambda w: w.pop("plate")), r"lacks tensor plate: it belongs to another network"
    ),
    "a tensor too many": (
        lambda p: rewrite_weights(p, lambda w: w.update(extra=torch.zeros(1))), r"holds the unknown tensor extra"
    ),
    "a preview that is none": (
        replace_preview, r"preview\.webp is not a WebP picture"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_with_one_sentence_that_says_what_it_is(damage: str, package: Path) -> None:
    change, sentence = DAMAGE[damage]
    change(package)
    with pytest.raises(ActorError, match=sentence) as caught:
        Actor.load(package)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "..."))


def test_a_package_trained_before_cards_grew_opens_and_its_card_stays_flat(tmp_path: Path) -> None:
    package = make_actor(tmp_path, design="photo").folder

    def forget(weights: dict[str, torch.Tensor]) -> None:
        for name in LATER:
            del weights[name]

    rewrite_weights(package, forget)
    sign(package)
    halo = Actor.load(package).load_generator().halo
    assert halo is not None
    assert not halo.outline.growth.any()
    assert halo.body is None
    np.testing.assert_array_equal(halo.rows_m, HEAD_ROWS_M)
    rewrite_weights(package, lambda weights: weights.update(halo_size=torch.zeros(1, dtype=torch.float16)))
    sign(package)
    with pytest.raises(ActorError, match="holds the unknown tensor halo_size: it belongs to another network"):
        Actor.load(package)


def test_no_pickle_is_ever_executed(package: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (witness,)

    for write in (
        lambda: (package / WEIGHTS).write_bytes(pickle.dumps(Bomb())),
        lambda: torch.save(Bomb(), package / WEIGHTS),
    ):
        write()
        sign(package)
        with pytest.raises(ActorError, match="could run code"):
            Actor.load(package)
        with pytest.raises(ActorError):
            Actor.load(package, verify=False).load_generator()
    assert not witness.exists()


def test_a_folder_that_is_not_there_and_a_name_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(ActorError, match="There is no actor package at"):
        Actor.load(tmp_path / "none.actor")
    with pytest.raises(ActorError, match="There is no actor 'nobody'"):
        Actor.load("nobody")


def test_names_are_found_in_the_named_folders_first(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_ACTORS", str(package.parent))
    assert find_actor("tiny") == package
    assert Actor.load("tiny").folder == package
    assert "tiny" in [actor.name for actor in list_actors()]
    break_json(package)
    assert "tiny" not in [actor.name for actor in list_actors()]


@pytest.mark.parametrize("name", ["../tiny", "tiny.actor/..", ".", "", "TINY", "tiny\0"])
def test_find_actor_takes_no_paths(name: str, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ACTORS", str(package.parent))
    with pytest.raises(ActorError, match=re.escape(f"There is no actor {name!r}")):
        find_actor(name)


def test_saving_replaces_whole_and_leaves_nothing_behind(package: Path) -> None:
    make_actor(package.parent, window=3)
    assert Actor.load(package).generator_config.window == 3
    assert [path.name for path in package.parent.iterdir()] == ["tiny.actor"]


def test_a_package_that_would_be_refused_is_not_saved(package: Path) -> None:
    generator = make_generator()
    generator.plate[:] = torch.inf
    before = (package / MANIFEST).read_bytes()
    with pytest.raises(ActorError, match="plate holds values that are not finite"):
        save_actor(
            package, generator, make_preview(), title="T", frame_rate=30, target=make_target(), training={},
            consent=Consent.of_nobody(), license="x",
        )  # fmt: skip
    assert (package / MANIFEST).read_bytes() == before
    assert [path.name for path in package.parent.iterdir()] == ["tiny.actor"]


def test_a_folder_must_be_named_as_an_actor(tmp_path: Path) -> None:
    with pytest.raises(ActorError, match="is no name for an actor: expected NAME.actor"):
        save_actor(
            tmp_path / "Über.actor", make_generator(), b"", title="T", frame_rate=30, target=make_target(), training={},
            consent=Consent.of_nobody(), license="x",
        )  # fmt: skip
