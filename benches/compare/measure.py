"""How one piece of work is timed: memory touched first, `cp` of the same bytes right before, bytes compared after."""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .process import Failed, Phase, Stage

WARM_FACTOR = 3
WRONG_BYTES = "WRONG BYTES"


@dataclass
class Measurement:
    """One piece of work of one tool, next to the `cp` that was timed right before it."""

    tool: str
    case: str
    action: str
    bytes: int
    seconds: float
    cp_seconds: float
    cpu_seconds: float
    idle: float | None
    peaks_mib: dict[str, float]
    # Rounds of the same number were done one after the other, whatever the tool.
    turn: int = 0

    def as_json(self) -> dict:
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def measure(stage: Stage, tool: str, case: str, action: str, source: Path, work: Callable[[], object]) -> Measurement:
    size = size_of(source)
    warm(stage.folder, size)
    cp_seconds = time_cp(source, stage.folder)
    with stage.phase() as phase:
        work()
    return measurement(tool, case, action, size, cp_seconds, phase)


def measurement(tool: str, case: str, action: str, size: int, cp_seconds: float, phase: Phase) -> Measurement:
    return Measurement(
        tool, case, action, size, phase.seconds, cp_seconds, phase.cpu_seconds, phase.idle, phase.peaks_mib
    )


def time_cp(source: Path, folder: Path) -> float:
    copy = folder / "cp"
    started = time.perf_counter()
    subprocess.run(["cp", "-r", source, copy], check=True)
    seconds = time.perf_counter() - started
    shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
    return seconds


def warm(folder: Path, size: int) -> None:
    """On a virtual machine the first touch of memory is slow, and whoever comes first would pay for it: touch and
    release what `cp` and the work after it will need, before the clock starts."""
    block = bytes(1 << 20)
    with (folder / "warm").open("wb", buffering=0) as file:
        for _ in range(WARM_FACTOR * size // len(block) + 1):
            file.write(block)
    (folder / "warm").unlink()


def must_equal(original: Path, copy: Path) -> None:
    done = subprocess.run(["diff", "-rq", original, copy], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{WRONG_BYTES}: {(done.stdout + done.stderr).strip()[:300]}")


def size_of(source: Path) -> int:
    files = (path for path in source.rglob("*")) if source.is_dir() else [source]
    return sum(path.stat().st_size for path in files if path.is_file())
