"""Makes Markdown of the results, and puts it into the page that has a place for it."""

import os
import platform
import re
import statistics
from pathlib import Path

BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
GIB = 1 << 30
MISSING = "–"
OURS = "parcelry"
# Links, tickets, fingerprints: long words without a meaning to readers.
KEY = re.compile(r"\b[a-z2-7]{32}\b|[\w.%+:-]{40,}")


def machine() -> dict:
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """The processor's name and, in brackets, what decides how fast it encrypts."""
    name, flags = cpu_field("model name") or platform.machine(), set(cpu_field("flags").split())
    if not flags:
        return name
    # Libraries of cryptography use the wide instructions for AES only together with those for GCM's hash.
    wide = {"vaes", "vpclmulqdq"} <= flags
    aes = "VAES" if wide else "AES-NI" if "aes" in flags else "no AES instructions"
    return f"{name} ({aes}, {'AVX-512' if 'avx512f' in flags else 'no AVX-512'})"


def cpu_field(name: str) -> str:
    """A field of the first processor; empty if there is none of that name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def markdown(results: dict) -> str:
    view = View(results)
    tools = results["tools"]
    parts = [introduction(results), times(view), ratios(view), costs(view), absent(tools), commands(tools)]
    return "\n\n".join(part for part in parts if part)


def write_into(page: Path, text: str) -> None:
    """Replaces what is between the markers of a page; where they are missing, they come last."""
    before = page.read_text() if page.exists() else "# Performance\n"
    if BEGIN not in before:
        before += f"\n{BEGIN}\n{END}\n"
    before, _, rest = before.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


class View:
    """The measurements as the tables need them: medians, and ratios to the `cp` beside each and to ours."""

    def __init__(self, results: dict):
        self.results = results
        self.tools = {name: about for name, about in results["tools"].items() if "version" in about}

    def of(self, tool: str, case: str, action: str) -> list[dict]:
        wanted = (tool, case, action)
        return [one for one in self.results["measurements"] if (one["tool"], one["case"], one["action"]) == wanted]

    def seconds(self, tool: str, case: str, action: str) -> float | None:
        return median(one["seconds"] for one in self.of(tool, case, action))

    def ratio(self, tool: str, case: str, action: str) -> float | None:
        return median(one["seconds"] / one["cp_seconds"] for one in self.of(tool, case, action))

    def ours_to(self, tool: str, case: str, action: str) -> list[float]:
        """How many times as long as the tool we took, for as many bytes, in each round that both did."""
        ours, theirs = (
            {(one["run"], one["turn"]): one["seconds"] / one["bytes"] for one in self.of(name, case, action)}
            for name in (OURS, tool)
        )
        return [ours[turn] / seconds for turn, seconds in theirs.items() if turn in ours]

    def cpu_per_gib(self, tool: str, case: str, action: str) -> float | None:
        return median(one["cpu_seconds"] * GIB / one["bytes"] for one in self.of(tool, case, action))

    def idle(self, tool: str, case: str, action: str) -> float | None:
        return median(one["idle"] for one in self.of(tool, case, action) if one["idle"] is not None)

    def peak_mib(self, tool: str, action: str, kind: str) -> float | None:
        """The most memory of one process: a client's, or that of whatever stays."""
        peaks = [
            peak
            for one in self.of(tool, "big", action)
            for name, peak in one["peaks_mib"].items()
            if name.startswith(("node", "tracker", "introducer", "gateway")) == (kind == "server")
        ]
        return max(peaks, default=None)

    def few(self, tool: str, case: str, action: str) -> str:
        """A note if there are fewer measurements than were asked for."""
        count = len(self.of(tool, case, action))
        return f" (n={count})" if 0 < count < self.results["options"]["rounds"] else ""


def median(values) -> float | None:
    values = list(values)
    return statistics.median(values) if values else None


# --- The parts of the report


def introduction(results: dict) -> str:
    about, options = results["machine"], results["options"]
    plural = "" if options["rounds"] == 1 else "s"
    runs = len({one["run"] for one in results["measurements"]})
    in_runs = f", in {runs} runs" if runs > 1 else ""
    return (
        f"Measured {results['ended']} on {about['cores']} cores of {about['cpu']}, {about['memory_gib']} GiB of memory, "
        f"Linux {about['kernel']}, on a RAM disk over loopback{in_runs}: medians of {options['rounds']} round{plural}, "
        f"each beside a `cp` of the same bytes (× is the median of the ratios to it). "
        f"The big file has {options['mib']} MiB. `benches/compare.sh` repeats it."
    )


def times(view: View) -> str:
    titles = [
        "",
        "get",
        "share to two nodes",
        "8 receivers at once",
        "5.6 MB: share / get",
        "277 bytes: share / get",
        "10,000 files: share / get",
    ]
    rows = []
    for tool, about in view.tools.items():
        rows.append(
            [
                about["title"],
                big(view, tool, "get"),
                big(view, tool, "share"),
                crowd(view, tool),
                pair(view, tool, "small"),
                pair(view, tool, "tiny"),
                folder(view, tool),
            ]
        )
    notes = ["10,000 files: in brackets, how many times as long as one file of as many bytes takes with the same tool."]
    if (reference := view.seconds(OURS, "tiny", "healthz")) is not None:
        notes.append(
            f"For reference: one `curl` to the health check of parcelry's tracker takes {milliseconds(reference)}."
        )
    return table(titles, rows) + "\n\n" + " ".join(notes)


def big(view: View, tool: str, action: str) -> str:
    seconds, ratio = view.seconds(tool, "big", action), view.ratio(tool, "big", action)
    if seconds is None:
        return failure(view, tool, action)
    part = view.tools[tool]["part"]
    about = "≈ " if part > 1 else ""
    return f"{about}{seconds * part:.2f} s ({ratio:.1f} ×){view.few(tool, 'big', action)}"


def crowd(view: View, tool: str) -> str:
    seconds = view.seconds(tool, "crowd", "get")
    return failure(view, tool, "crowd") if seconds is None else f"{seconds:.2f} s{view.few(tool, 'crowd', 'get')}"


def pair(view: View, tool: str, case: str) -> str:
    share, get = view.seconds(tool, case, "share"), view.seconds(tool, case, "get")
    if share is None or get is None:
        return failure(view, tool, case)
    return f"{milliseconds(share)} / {milliseconds(get)}{view.few(tool, case, 'get')}"


def folder(view: View, tool: str) -> str:
    cells = []
    for action in ("share", "get"):
        whole, piece = view.seconds(tool, "folder", action), view.seconds(tool, "piece", action)
        if whole is None:
            return failure(view, tool, "folder")
        cells.append(f"{whole:.2f} s" + (f" ({whole / piece:.1f})" if piece else ""))
    return " / ".join(cells) + view.few(tool, "folder", "get")


def ratios(view: View) -> str:
    """Our time to everybody else's. Where there is nobody else, nothing."""
    works = [("big", "get"), ("big", "share"), ("crowd", "get")]
    others = [tool for tool in view.tools if tool != OURS]
    if not any(view.ours_to(tool, *work) for tool in others for work in works):
        return ""
    titles = ["parcelry's time to that of", "get", "share to two nodes", "8 receivers at once"]
    rows = [[view.tools[tool]["title"], *(ratio(view.ours_to(tool, *work)) for work in works)] for tool in others]
    return (
        table(titles, rows)
        + "\n\nBelow 1, parcelry is the quicker one. Medians of the ratios of rounds that were done one after the other, "
        "so that what slows the machine for a while is in both."
    )


def ratio(found: list[float]) -> str:
    return f"{statistics.median(found):.2f}" if found else MISSING


def failure(view: View, tool: str, case: str) -> str:
    return "failed" if case in view.tools[tool].get("failed", {}) else MISSING


def costs(view: View) -> str:
    titles = [
        "",
        "version",
        "sources",
        "encrypted on the way",
        "at rest",
        "CPU per GiB: get",
        "share",
        "cores idle: get / share",
        "peak memory, get: receiver / server",
        "share: sharer / server",
        "remarks",
    ]
    rows = [
        [
            about["title"],
            about["version"],
            about["sources"],
            about["transport"],
            about["at_rest"],
            cpu(view, tool, "get"),
            cpu(view, tool, "share"),
            idle(view, tool),
            peaks(view, tool, "get"),
            peaks(view, tool, "share"),
            about["remark"],
        ]
        for tool, about in view.tools.items()
    ]
    return (
        table(titles, rows)
        + "\n\nCPU is user and system time of all processes together; idle is how much of all cores did nothing meanwhile; "
        "memory is that of the largest process of its kind."
    )


def cpu(view: View, tool: str, action: str) -> str:
    seconds = view.cpu_per_gib(tool, "big", action)
    return MISSING if seconds is None else f"{seconds:.1f} s"


def idle(view: View, tool: str) -> str:
    found = [view.idle(tool, "big", action) for action in ("get", "share")]
    if not any(share is not None for share in found):
        return MISSING
    return " / ".join(MISSING if share is None else f"{share * 100:.0f} %" for share in found)


def peaks(view: View, tool: str, action: str) -> str:
    found = (view.peak_mib(tool, action, "client"), view.peak_mib(tool, action, "server"))
    return " / ".join(MISSING if peak is None else f"{peak:.0f}" for peak in found) + (" MiB" if any(found) else "")


def absent(tools: dict) -> str:
    lines = [
        f"- {about['title']} was not compared: {about['unavailable']}"
        for about in tools.values()
        if "unavailable" in about
    ]
    for about in tools.values():
        lines += [
            f"- {about['title']} failed in `{case}`: {escape(reason)}"
            for case, reason in about.get("failed", {}).items()
        ]
    return "\n".join(lines)


def commands(tools: dict) -> str:
    """Every command that was run; repetitions differ in addresses and ports only, and are left out."""
    lines = []
    for about in tools.values():
        if about.get("commands"):
            lines += [f"# {about['title']}", *distinct(about["commands"]), ""]
    text = "\n".join(lines).rstrip()
    return f"<details><summary>The commands</summary>\n\n```\n{text}\n```\n\n</details>" if text else ""


def distinct(texts: list[str]) -> list[str]:
    """One of each kind: two commands are of a kind if they differ only in numbers and in keys. Keys tell nothing."""
    seen: dict[str, str] = {}
    for text in texts:
        text = KEY.sub("…", text)
        seen.setdefault(re.sub(r"\d+", "0", text).replace("piece", "big0"), text)
    return list(seen.values())


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
