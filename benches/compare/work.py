"""The cases: what every tool is made to do."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .measure import Measurement, measure, must_equal
from .process import Stage
from .rivals import Rival

MIB = 1 << 20
TINY_BYTES = 277
SMALL_BYTES = 5_600_000
FOLDER_FILES, FOLDER_FILE_BYTES = 10_000, 4096
CROWD_MIB, CROWD_RECEIVERS = 256, 8
TINY_REPEATS = 15

# Slow tools repeat less: no further round begins after so many measured seconds in one case.
PATIENCE_S = {"big": 60, "crowd": 45}
PATIENCE_OTHER_S = 12
# What is small must be done sooner than the big file.
CASE_LIMIT_S = {"tiny": 120, "small": 120, "folder": 60}

CASES = {
    "get": "get a big file that two nodes hold",
    "share": "share a big file: two nodes hold it afterwards",
    "tiny": f"share and get {TINY_BYTES} bytes",
    "small": "share and get 5.6 MB",
    "folder": f"share and get {FOLDER_FILES} files of 4 KiB, and as many bytes in one file",
    "crowd": f"{CROWD_RECEIVERS} receivers of {CROWD_MIB} MiB at once",
}


@dataclass
class Plan:
    """What is to be done, how often, with how much."""

    cases: list[str]
    rounds: int
    mib: int
    sources: Path
    record: Callable[[Measurement], None]

    def file(self, name: str, size: int) -> Path:
        """A file of random bytes, made once for all tools: none can compress it or knows it already."""
        path = self.sources / name
        if not path.exists():
            with path.open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(os.urandom(min(MIB, size - start)))
        return path

    def folder(self) -> Path:
        path = self.sources / "folder"
        if not path.exists():
            path.mkdir()
            for number in range(FOLDER_FILES):
                (path / f"{number:05}.bin").write_bytes(os.urandom(FOLDER_FILE_BYTES))
        return path


class Worker:
    """One tool on its stage, working through a plan."""

    def __init__(self, rival: Rival, stage: Stage, plan: Plan):
        self.rival, self.stage, self.plan = rival, stage, plan
        self.spent_s = 0.0
        self.turn = 0

    def work(self) -> Iterator[None]:
        """Round by round: after each, others have their turn."""
        plan = self.plan
        big = [case for case in ("share", "get") if case in plan.cases]
        if big:
            size = plan.mib * MIB // self.rival.part
            yield from self.rounds("big", plan.file(f"big{self.rival.part}", size), plan.rounds, big)
        if "tiny" in plan.cases:
            yield from self.rounds("tiny", plan.file("tiny", TINY_BYTES), max(TINY_REPEATS, plan.rounds))
            self.refer()
        if "small" in plan.cases:
            yield from self.rounds("small", plan.file("small", SMALL_BYTES), plan.rounds)
        if "folder" in plan.cases:
            yield from self.rounds("folder", plan.folder(), plan.rounds)
            yield from self.rounds("piece", plan.file("piece", FOLDER_FILES * FOLDER_FILE_BYTES), plan.rounds)
        if "crowd" in plan.cases:
            yield from self.crowd(plan.file("crowd", min(CROWD_MIB, plan.mib) * MIB))

    def rounds(self, case: str, source: Path, count: int, actions: list[str] | None = None) -> Iterator[None]:
        for _ in self.repeat(case, count):
            handle = self.share(case, source, not actions or "share" in actions)
            if not actions or "get" in actions:
                self.rival.offer(handle)
                self.get(case, source, handle, receivers=1)
            self.rival.drop(handle)
            yield

    def repeat(self, case: str, count: int) -> Iterator[int]:
        self.spent_s = 0.0
        for number in range(count):
            if self.spent_s > PATIENCE_S.get(case, PATIENCE_OTHER_S):
                return
            self.stage.renew()
            self.turn = number
            yield number

    def crowd(self, source: Path) -> Iterator[None]:
        for _ in self.repeat("crowd", self.plan.rounds):
            handle = self.share("crowd", source, record=False)
            self.rival.offer(handle)
            self.get("crowd", source, handle, CROWD_RECEIVERS)
            self.rival.drop(handle)
            yield

    def share(self, case: str, source: Path, record: bool) -> str:
        handles = []
        result = self.measure(case, "share", source, lambda: handles.append(self.rival.share(source)))
        for copy in self.rival.copies(handles[0]):
            must_equal(source, copy)
        if record:
            self.plan.record(result)
        return handles[0]

    def get(self, case: str, source: Path, handle: str, receivers: int) -> None:
        targets = [self.stage.folder / f"receiver{number}" for number in range(receivers)]
        for target in targets:
            target.mkdir()
        commands = [self.rival.get(handle, target, number) for number, target in enumerate(targets)]
        result = self.measure(case, "get", source, lambda: self.stage.run(*commands))
        for target in targets:
            must_equal(source, target / source.name)
            shutil.rmtree(target)
        self.plan.record(result)

    def refer(self) -> None:
        command = self.rival.reference()
        for _ in range(TINY_REPEATS if command else 0):
            tiny = self.plan.file("tiny", TINY_BYTES)
            self.plan.record(self.measure("tiny", command.name, tiny, lambda: self.stage.run(command)))

    def measure(self, case: str, action: str, source: Path, work: Callable[[], object]) -> Measurement:
        result = measure(self.stage, self.rival.name, case, action, source, work)
        result.turn = self.turn
        self.spent_s += result.seconds
        return result
