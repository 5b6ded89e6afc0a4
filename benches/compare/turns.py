"""Who does what when: the tools take turns, round by round, so that a slow moment of the machine hits all of them."""

import argparse
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from .measure import Measurement
from .process import Failed, Stage
from .rivals import Rival
from .work import CASE_LIMIT_S, Plan, Worker


def compare(rivals: list[Rival], results: dict, options: argparse.Namespace, folder: Path) -> None:
    """Works through all cases with all tools. Whatever goes wrong with one is noted, and does not stop the others."""
    sources = folder / "sources"
    sources.mkdir()
    present = [rival for rival in rivals if "unavailable" not in results["tools"][rival.name]]
    for rival in present:
        results["tools"][rival.name] |= {"commands": [], "failed": {}}

    def record(measurement: Measurement) -> None:
        results["measurements"].append(measurement.as_json() | {"run": results["run"]})
        if measurement.case == "tiny":
            return  # too many to tell
        say(
            f"{measurement.tool}: {measurement.case} {measurement.action} {measurement.seconds:.3f} s, "
            f"cp {measurement.cp_seconds:.3f} s, CPU {measurement.cpu_seconds:.2f} s"
        )

    for cases in case_groups(options.cases):
        # Each begins with fresh nodes, so that one that fails leaves the others their chance.
        limit_s = min(options.limit, CASE_LIMIT_S.get(cases[0], options.limit))
        entrants = []
        for rival in present:
            stage = Stage(folder / rival.name, limit_s, results["network"])
            rounds = options.rounds_of.get(rival.name, options.rounds)
            plan = Plan(cases, rounds, options.mib, sources, record)
            entrants.append(Entrant(rival, stage, plan, results["tools"][rival.name]))
        take_turns(entrants)


def case_groups(cases: list[str]) -> list[list[str]]:
    """`share` and `get` of the big file happen in the same rounds."""
    big = [case for case in cases if case in ("share", "get")]
    return ([big] if big else []) + [[case] for case in cases if case not in big]


class Entrant:
    """One tool with one group of cases. Its nodes stay up while others have their turn, and do nothing then."""

    def __init__(self, rival: Rival, stage: Stage, plan: Plan, about: dict):
        self.rival, self.stage, self.plan, self.about = rival, stage, plan, about
        self._turns = self._work()

    def _work(self) -> Iterator[None]:
        self.stage.renew()
        self.rival.start(self.stage)
        yield
        yield from Worker(self.rival, self.stage, self.plan).work()

    def turn(self) -> bool:
        """First starts the nodes, and then does a round each time. False once all is done, or has failed."""
        try:
            next(self._turns)
            return True
        except StopIteration:
            pass
        except Exception as error:  # Whatever it is: it is told, and the others go on.
            self._note(error)
        self.leave()
        return False

    def _note(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        self.about["failed"] |= {case: reason for case in self.plan.cases}
        say(f"{self.rival.name}: FAILED: {reason}")
        if not isinstance(error, Failed):
            traceback.print_exception(error)

    def leave(self) -> None:
        """Ends the nodes and removes all that they had, unless that has happened already."""
        if not self.stage.folder.exists():
            return
        self.stage.close()
        if {"get", "share", "folder"} & set(self.plan.cases):
            self.about["commands"] += self.stage.commands
        shutil.rmtree(self.stage.folder)


def take_turns(entrants: list[Entrant]) -> None:
    with ExitStack() as all_leave:
        for entrant in entrants:
            all_leave.callback(entrant.leave)
        while entrants:
            entrants = [entrant for entrant in entrants if entrant.turn()]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
