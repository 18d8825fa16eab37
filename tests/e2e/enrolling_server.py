"""`reenact serve` with a stand-in for the training: a copy of milo under the new name, with the consent that was given.

Checks are the real ones, but for the length that they ask for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from capture.suitability import Bounds
from reenact.actor import BUNDLED, sign_actor
from reenact.consent import Consent, parse_date


def train(words: list[str]) -> int:
    """Do as `reenact train` does, in a second."""
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    work, output = Path(options["work"]), Path(options["output"])
    work.mkdir(exist_ok=True)
    state = {"label": "training", "done": 300, "total": 1000, "left_s": 200.0, "note": ""}
    Path(os.environ["REENACT_PROGRESS"]).write_text(json.dumps(state))
    lines = [{"step": 20 * i, "minutes": i / 10, "loss": {"photometric": 1 / (5 + i)}} for i in range(40)]
    (work / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    time.sleep(4.0)
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(BUNDLED / "milo.actor", output)
    manifest = json.loads((output / "actor.json").read_text())
    manifest["title"] = options["title"]
    (output / "actor.json").write_text(json.dumps(manifest))
    words_of_consent = Path(options["consent"]).read_text()
    until = parse_date("until", options["until"])
    sign_actor(
        output,
        Consent.of_words(words_of_consent, person=options["person"], purpose=options["purpose"], until=until),
    )
    return 0


def take_less() -> None:
    """Let five seconds of video be enough."""
    defaults = Bounds.__init__.__kwdefaults__
    assert defaults is not None
    defaults["min_s"] = 5.0


if __name__ == "__main__":
    take_less()
    if sys.argv[1] == "serve":
        from streamer import jobs
        from streamer.cli import main

        defaults = jobs.Jobs.__init__.__kwdefaults__
        assert defaults is not None
        defaults["command"] = ("-m", "tests.e2e.enrolling_server")
        sys.exit(main())
    if sys.argv[5] == "train":
        sys.exit(train(sys.argv[6:]))
    from streamer.child import main as run

    sys.exit(run(sys.argv[1:]))
