"""The record of pictures that were made without a visible label: when, whose, and why."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os

from reenact.credentials import Origin
from reenact.signing import data_folder

logger = logging.getLogger(__name__)

LOG_FILE = "unlabelled.jsonl"
"""In the data folder; one JSON object a line."""


def note_missing_label(origin: Origin) -> None:
    """Write down, in the log and in `unlabelled.jsonl`, that pictures of `origin` go out without a label."""
    logger.warning("pictures %s are made without a label: %s", origin.mark, origin.label_reason)
    entry = {
        "time": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        "mark": origin.mark,
        "actor": origin.actor,
        "reason": origin.label_reason,
    }
    path = data_folder() / LOG_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        logger.error("%s cannot be written: %s", path, error.strerror)
