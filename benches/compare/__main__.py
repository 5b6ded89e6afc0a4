"""The command line: which tools and cases, in which order, and where the results go."""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import report, runs
from .install import Tools, Unavailable
from .isolate import LOOPBACK_NETWORK, isolate
from .measure import WRONG_BYTES
from .rivals import Rival, all_rivals
from .turns import compare, say
from .work import CASES

RESULTS = Path("target/compare/results.json")
PLOT = Path("docs/compare.svg")
PAGE = Path("docs/performance.md")
# Of what is quick, slow and slowest; parcelry is in each, or nothing could be held against it.
IN_PARTS = [
    "All tools take an hour. In parts of less than 20 minutes each, once all is installed:",
    "  benches/compare.sh --only parcelry,nginx,nginx-tls,aria2-http,rsync,libtorrent",
    "  benches/compare.sh --add --only parcelry,aria2,rqbit,transmission --rounds-of transmission=1",
    "  benches/compare.sh --add --only parcelry,sendme,tahoe,croc --rounds-of sendme=2,tahoe=2",
]


def main() -> int:
    options = parse_options()
    tools = Tools(Path("target/rivals").resolve(), options.install)
    chosen = [rival for rival in all_rivals(tools) if not options.only or rival.name in options.only]
    results = {
        "machine": report.machine(),
        "options": {"rounds": options.rounds, "mib": options.mib, "cases": options.cases},
    }
    earlier = runs.earlier_results(RESULTS, results) if options.add else None
    results["run"] = runs.next_number(earlier)
    results["tools"] = {rival.name: prepare(rival) for rival in chosen}
    try:
        tools.pip("matplotlib")
    except Unavailable as reason:
        say(f"no plot: {reason}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results["network"] = isolate() or LOOPBACK_NETWORK
    results["measurements"] = []
    with tempfile.TemporaryDirectory(prefix="compare.", dir=options.folder) as folder:
        compare(chosen, results, options, Path(folder))
    joined = runs.join(earlier, results, [rival.name for rival in all_rivals(tools)]) if earlier else results
    finish(joined, tools, options.docs)
    return 1 if is_alarming(results["tools"]) else 0


def is_alarming(tools: dict) -> bool:
    """Other tools may be too slow; but parcelry may not fail, and nobody may hand over wrong bytes."""
    reasons = [reason for tool in tools.values() for reason in tool.get("failed", {}).values()]
    ours = tools.get(report.OURS, {})
    return bool(
        ours.get("failed") or ours.get("unavailable") or any(reason.startswith(WRONG_BYTES) for reason in reasons)
    )


def parse_options() -> argparse.Namespace:
    names = [rival.name for rival in all_rivals(Tools(Path(), False))]
    parser = argparse.ArgumentParser(
        "benches/compare.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Does the same work with parcelry and with other tools on this machine, and compares.",
        epilog="\n".join(
            ["tools: " + ", ".join(names), "cases:", *(f"  {case:8}{text}" for case, text in CASES.items())]
            + ["PARCELRY_BIN names the binary to measure; without it, one is built.", "", *IN_PARTS]
        ),
    )
    parser.add_argument("--only", type=words(names), metavar="TOOL,…", help="only these tools")
    parser.add_argument(
        "--cases", type=words(list(CASES)), default=list(CASES), metavar="CASE,…", help="only these cases"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each is done (default: 5)")
    parser.add_argument(
        "--rounds-of", type=counts(names), default={}, metavar="TOOL=N,…", help="another number for slow tools"
    )
    parser.add_argument(
        "--add", action="store_true", help=f"put the result beside what {RESULTS} has of other tools, from earlier runs"
    )
    parser.add_argument("--mib", type=int, default=1024, metavar="N", help="size of the big file (default: 1024)")
    parser.add_argument(
        "--folder",
        default="/dev/shm",
        metavar="PATH",
        help="where everything happens: a RAM disk, else the disk is measured; takes 8 times the big file (default: /dev/shm)",
    )
    parser.add_argument(
        "--limit", type=float, default=300, metavar="S", help="after how long a tool has failed (default: 300)"
    )
    parser.add_argument("--no-install", dest="install", action="store_false", help="use only what is installed already")
    parser.add_argument(
        "--no-docs", dest="docs", action="store_false", help=f"print the table, leave {PAGE} and {PLOT} alone"
    )
    return parser.parse_args()


def words(known: list[str]):
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return parse


def counts(known: list[str]):
    def parse(text: str) -> dict[str, int]:
        chosen = {}
        for word in text.split(","):
            name, _, number = word.partition("=")
            words(known)(name)  # refuses a tool that is not there
            if not number.isdecimal() or int(number) < 1:
                raise argparse.ArgumentTypeError(f"not TOOL=N: {word}")
            chosen[name] = int(number)
        return chosen

    return parse


def prepare(rival: Rival) -> dict:
    """Installs a tool; what the report says about it, whether it is there or not."""
    about = {key: getattr(rival, key) for key in ("title", "sources", "transport", "at_rest", "remark", "part")}
    try:
        rival.install()
        return about | {"version": rival.version()}
    except Unavailable as reason:
        say(f"{rival.name}: not available: {reason}")
        return about | {"unavailable": str(reason)}


def finish(results: dict, tools: Tools, docs: bool) -> None:
    results["ended"] = datetime.date.today().isoformat()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = report.markdown(results)
    print(text)
    if docs:
        report.write_into(PAGE, text)
        draw(tools)
        say(f"wrote {RESULTS}, {PAGE} and {PLOT}")


def draw(tools: Tools) -> None:
    """By a process of its own, for matplotlib is in the venv only."""
    environment = os.environ | {"PYTHONPATH": "benches"}
    subprocess.run([tools.python, "-B", "-m", "compare.plot", str(RESULTS), str(PLOT)], env=environment, check=False)


if __name__ == "__main__":
    sys.exit(main())
