"""Several runs as one result: all tools together take an hour, so some of them can be measured at a time."""

import json
from pathlib import Path

from .report import OURS


def earlier_results(path: Path, results: dict) -> dict:
    """What earlier runs found, if it may stand beside what this one finds."""
    if not path.exists():
        raise SystemExit(f"there is nothing to add to: {path} does not exist")
    earlier = json.loads(path.read_text())
    for what in ("machine", "options"):
        if earlier[what] != results[what]:
            raise SystemExit(
                f"these results cannot stand beside those in {path}: that is another {what}\n"
                f"  there {earlier[what]}\n  here  {results[what]}"
            )
    return earlier


def next_number(earlier: dict | None) -> int:
    return 1 + max((one["run"] for one in earlier["measurements"]), default=0) if earlier else 1


def join(earlier: dict, results: dict, order: list[str]) -> dict:
    """A tool that was measured again is as it was now. Ours is in every run, to be held against the others there: it
    keeps everything."""
    tools = earlier["tools"] | results["tools"]
    if OURS in earlier["tools"] and OURS in results["tools"]:
        known, new = earlier["tools"][OURS], results["tools"][OURS]
        tools[OURS] = new | {
            "commands": known.get("commands", []) + new.get("commands", []),
            "failed": known.get("failed", {}) | new.get("failed", {}),
        }
    stale = set(results["tools"]) - {OURS}
    kept = [one for one in earlier["measurements"] if one["tool"] not in stale]
    return results | {
        "tools": {name: tools[name] for name in order if name in tools},
        "measurements": kept + results["measurements"],
    }
