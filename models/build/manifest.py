"""Refresh the hashes of `models/manifest.json`: `python -m models.build.manifest`, after a bake or training.

The manifest says of every weights file below `models` how it was made, from what, and under which licence. Those words
are written by hand; only the SHA-256 is computed. The `actor.json` of an actor that ships is in it too: by that hash,
not by a signature, `reenact.actor` knows an actor that came with the program.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
FIELDS = ("file", "sha256", "made_by", "data", "licence")
PATTERNS = ("*.safetensors", "actors/*.actor/actor.json")
"""What the manifest lists."""


def refresh(folder: Path = FOLDER) -> list[str]:
    """Write the hash of each listed file and give the names of those that changed.

    Raises `ValueError` if the list and the folder differ, or an entry lacks one of `FIELDS`.
    """
    manifest = folder / "manifest.json"
    entries = json.loads(manifest.read_text())
    listed = {entry.get("file") for entry in entries}
    present = {path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.rglob(pattern)}
    if listed != present:
        raise ValueError(f"{manifest}: expected entries for {sorted(present)}, got {sorted(map(str, listed))}")
    changed = []
    for entry in entries:
        if tuple(entry) != FIELDS:
            raise ValueError(
                f"{manifest}: {entry['file']}: expected the fields {', '.join(FIELDS)}, got {', '.join(entry)}"
            )
        digest = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            entry["sha256"] = digest
            changed.append(entry["file"])
    manifest.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
    return changed


if __name__ == "__main__":
    print("changed:", ", ".join(refresh()) or "nothing")
