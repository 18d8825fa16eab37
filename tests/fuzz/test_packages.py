"""Actor packages from strangers, damaged anywhere and signed all the same: a sentence, or an actor that is sound."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact import signing
from reenact.actor import MANIFEST, PREVIEW, WEIGHTS, Actor, ActorError
from tests.fuzz.inputs import damaged_bytes, damaged_json, inputs, nothing_leaks
from tests.unit.reenact.make import make_actor


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_actor(tmp_path_factory.mktemp("actors")).folder


@pytest.fixture
def package(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / pristine.name))


@pytest.fixture(autouse=True)
def _nothing_leaks(pristine: Path) -> Iterator[None]:
    Actor.load(pristine)
    with nothing_leaks():
        yield


def load(package: Path, *, verify: bool = True) -> None:
    try:
        actor = Actor.load(package, verify=verify)
    except ActorError as error:
        assert "\n" not in str(error) or "JSON" in str(error)
        assert len(str(error)) < 20_000
    else:
        assert not actor.consent.is_expired


def sign(values: Any) -> Any:
    """Sign what can be signed, as somebody could who has the key, so that what is behind the signature is tried."""
    if isinstance(values, dict):
        values.pop("signature", None)
        with contextlib.suppress(ValueError, TypeError):
            values["signature"] = signing.sign(values)
    return values


@inputs(80)
@given(data=st.data())
def test_a_manifest_changed_anywhere(package: Path, pristine: Path, data: st.DataObject) -> None:
    good = json.loads((pristine / MANIFEST).read_text())
    changed = data.draw(damaged_json(good))
    if data.draw(st.integers(0, 9)):
        changed = sign(changed)
    (package / MANIFEST).write_text(json.dumps(changed), encoding="utf-8", errors="surrogatepass")
    load(package, verify=False)


@inputs(40)
@given(data=st.data())
def test_files_changed_byte_by_byte(package: Path, pristine: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from((WEIGHTS, PREVIEW, MANIFEST)))
    whole = (pristine / name).read_bytes()
    # Of the weights the head, where names, shapes and places stand.
    head = whole[:6000]
    changed = data.draw(damaged_bytes(head)) + whole[6000:]
    for file in (WEIGHTS, PREVIEW, MANIFEST):
        shutil.copyfile(pristine / file, package / file)
    (package / name).write_bytes(changed)
    if name != MANIFEST and data.draw(st.booleans()):
        values = json.loads((package / MANIFEST).read_text())
        values["files"][name]["sha256"] = hashlib.sha256(changed).hexdigest()
        (package / MANIFEST).write_text(json.dumps(sign(values)))
    load(package)


def test_the_pristine_one_still_opens(pristine: Path) -> None:
    assert Actor.load(pristine).name == "tiny"
