"""Checks of the repository: imports run downwards, the manifest and the README tell the truth, nothing is too big."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from models.build.manifest import PATTERNS

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("models", "capture", "reenact", "streamer")
"""The rooms from the ground up: each may import itself and the rooms below it."""
NETWORK_PACKAGES = {"asyncio", "aiohttp", "aiortc", "aioice"}
MAX_FILE_BYTES = 20_000_000
MANIFEST = ROOT / "models" / "manifest.json"


def tracked_files() -> list[Path]:
    """Give every file under version control that exists; skips outside a checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def imported_packages(source: str) -> set[str]:
    """Name the top-level packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def forbidden_imports(room: str, source: str) -> set[str]:
    """Name what a module of `room` must not import but does."""
    above = set(FLOORS[FLOORS.index(room) + 1 :]) | {"tests"}
    if room != "streamer":
        above |= NETWORK_PACKAGES
    return imported_packages(source) & above


def top_level_of_tree(readme: str) -> set[str]:
    """Name the entries at the left margin of the README's annotated tree: words between commas, before two spaces."""
    heading = readme.index("## The tree")
    match = re.search(r"```text\n(.*?)```", readme[heading:], re.DOTALL)
    assert match, "README: no ```text block below '## The tree'"
    margin = [
        re.split(r"\s{2,}", line)[0] for line in match[1].splitlines() if line.strip() and not line.startswith(" ")
    ]
    return {name.strip().rstrip("/") for entry in margin for name in entry.split(",")}


def test_the_import_check_sees_every_kind_of_import() -> None:
    source = (
        "def f():\n    import asyncio.tasks as t\n    from streamer.session import Session\n    from . import options\n"
    )
    assert forbidden_imports("capture", source) == {"asyncio", "streamer"}
    assert forbidden_imports("streamer", source) == set()
    assert forbidden_imports("streamer", "from tests import clips") == {"tests"}


@pytest.mark.parametrize("room", FLOORS)
def test_imports_run_only_downwards(room: str) -> None:
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    wrong = {str(path.relative_to(ROOT)): bad for path in modules if (bad := forbidden_imports(room, path.read_text()))}
    assert not wrong, f"{room} may import only {', '.join(FLOORS[: FLOORS.index(room) + 1])}"


def test_the_readme_tree_names_what_is_there() -> None:
    present = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    named = top_level_of_tree((ROOT / "README.md").read_text())
    assert named == present, f"not in the tree: {present - named}; only in the tree: {named - present}"


@pytest.mark.parametrize("room", FLOORS)
def test_the_readme_tree_names_the_modules_of_each_room(room: str) -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("## The tree") :]
    entries = [path for path in (ROOT / room).iterdir() if not path.name.startswith("_")]
    names = {path.stem for path in entries if path.is_dir() or path.suffix == ".py"}
    missing = {name for name in names if not re.search(rf"\b{name}\b", tree)}
    assert not missing, f"README: the tree says nothing of {room}/{{{', '.join(sorted(missing))}}}"


def test_the_manifest_matches_the_weights() -> None:
    entries = json.loads(MANIFEST.read_text())
    for entry in entries:
        assert set(entry) == {"file", "sha256", "made_by", "data", "licence"}, entry.get("file")
        digest = hashlib.sha256((MANIFEST.parent / entry["file"]).read_bytes()).hexdigest()
        assert digest == entry["sha256"], (
            f"{entry['file']}: run its command again ({entry['made_by']}) or update the manifest"
        )
    listed = [entry["file"] for entry in entries]
    found = [path for pattern in PATTERNS for path in MANIFEST.parent.rglob(pattern)]
    present = [path.relative_to(MANIFEST.parent).as_posix() for path in found]
    assert sorted(listed) == sorted(present)


def test_no_file_is_too_big_for_git() -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked_files()}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}


def test_only_safe_files_ship_with_the_application() -> None:
    shipped = [path for path in tracked_files() if path.is_relative_to(ROOT / "models") and path.suffix != ".py"]
    allowed = {".safetensors", ".json", ".webp", ".toml", ".md"}
    assert {str(path.relative_to(ROOT)) for path in shipped if path.suffix not in allowed} == set()


def test_constraints_hold_every_direct_dependency_to_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    wanted = (
        project["dependencies"] + project["optional-dependencies"]["dev"] + project["optional-dependencies"]["bake"]
    )
    for requirement in wanted:
        name, condition = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        assert name.lower() in pinned, f"constraints.txt: no version for {name}"
        exact = re.fullmatch(r"==(\S+)", condition)
        assert exact is None or exact[1] == pinned[name.lower()], f"{name}: pyproject.toml and constraints.txt differ"
