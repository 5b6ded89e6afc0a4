"""Draws the results: how many times as long as `cp` each tool takes.

python -m compare.plot RESULTS.json PLOT.svg
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "compare", "font.family": "sans-serif", "font.size": 10}

import matplotlib.pyplot as plt  # noqa: E402  (the settings come first)

from .report import OURS, View  # noqa: E402

# Middle tones: they can be read on white and on black.
OUR_COLOUR, COLOUR, INK = "#d9730d", "#7d8fa3", "#808080"
PANELS = {"get": "get: from nodes that hold it", "share": "share: until two nodes hold it"}
LOG_FROM = 12


def main() -> None:
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    view = View(json.loads(results.read_text()))
    height = 1.2 + 0.32 * len(view.tools)
    figure, panels = plt.subplots(1, len(PANELS), figsize=(10, height), sharey=True, layout="constrained")
    for panel, (action, title) in zip(panels, PANELS.items(), strict=True):
        draw(panel, view, action, title)
    panels[0].invert_yaxis()  # the first tool on top; both panels share the axis
    # Without a date, the same results make the same file.
    figure.savefig(target, transparent=True, metadata={"Date": None, "Creator": None})


def draw(panel, view: View, action: str, title: str) -> None:
    names = [name for name in view.tools]
    ratios = [view.ratio(name, "big", action) or 0 for name in names]
    colours = [OUR_COLOUR if name == OURS else COLOUR for name in names]
    bars = panel.barh([view.tools[name]["title"] for name in names], ratios, color=colours)
    panel.bar_label(bars, [f"{ratio:.1f} ×" if ratio else "no result" for ratio in ratios], padding=3, color=INK)
    panel.set_title(title, color=INK, fontsize=11)
    panel.set_xlabel("times the duration of cp", color=INK)
    known = [ratio for ratio in ratios if ratio]
    if known and max(known) > LOG_FROM * min(known):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlim(min(1, *known), max(known) * 3)
    elif known:
        panel.set_xlim(0, max(known) * 1.2)
    panel.tick_params(which="both", colors=INK, length=0)
    panel.grid(axis="x", color=INK, alpha=0.25)
    panel.set_axisbelow(True)
    for spine in panel.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    main()
