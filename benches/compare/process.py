"""Starts, watches and ends processes, and reads from /proc what they cost."""

import os
import resource
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SAMPLE_MS = 20
PAUSE_S = 0.005


class Failed(Exception):
    """A tool did not do what it was asked to; the text says what happened."""


@dataclass
class Command:
    """A program that runs to its end. `name` is what its memory is listed under."""

    name: str
    argv: list[str]
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Phase:
    """What a stretch of work took, over all processes of the stage."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    # How much of all cores did nothing, of 1; unknown where it was too short for the kernel's ticks.
    idle: float | None = None
    peaks_mib: dict[str, float] = field(default_factory=dict)

    def saw(self, name: str, kib: int) -> None:
        self.peaks_mib[name] = max(self.peaks_mib.get(name, 0.0), round(kib / 1024, 1))


class Daemon:
    """A program that stays until it is stopped, in a session of its own, with all that it starts."""

    def __init__(self, name: str, process: subprocess.Popen, out: Path, err: Path):
        self.name, self.process, self.out, self.err = name, process, out, err

    def output(self) -> str:
        return self.out.read_text(errors="replace")

    def ask(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()


class Stage:
    """All that one tool has running, below one folder. Whatever was started here ends with `close`."""

    def __init__(self, folder: Path, limit_s: float, network: str):
        self.folder, self.limit_s, self.network = folder, limit_s, network
        self.commands: list[str] = []
        self.phase_now = Phase()
        self.renew()
        self._daemons: list[Daemon] = []
        self._started = 0
        (folder / "log").mkdir(parents=True)

    # --- Starting and ending

    def start(self, name: str, argv: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> Daemon:
        """Starts a daemon. What to wait for before it is used, only the caller knows: see `until`."""
        process, out, err = self._spawn(Command(name, argv, cwd, env or {}), stdin=subprocess.PIPE)
        daemon = Daemon(name, process, out, err)
        self._daemons.append(daemon)
        return daemon

    def stop(self, *daemons: Daemon) -> None:
        for daemon in daemons:
            signal_session(daemon.process.pid, signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            signal_session(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
            self._daemons.remove(daemon)

    def close(self) -> None:
        self.stop(*self._daemons)

    def run(self, *commands: Command) -> list[str]:
        """Runs all commands at once until the last has ended; their standard outputs."""
        running = [(command, *self._spawn(command, stdin=subprocess.DEVNULL)) for command in commands]
        try:
            self._watch({process.pid: command.name for command, process, _, _ in running})
        finally:
            for _, process, _, _ in running:
                signal_session(process.pid, signal.SIGKILL)
                process.wait()
        for command, process, out, err in running:
            if process.returncode:
                raise Failed(f"{command.name} ended with {process.returncode}: {last_words(err, out)}")
        return [out.read_text(errors="replace") for _, _, out, _ in running]

    def _spawn(self, command: Command, stdin: int) -> tuple[subprocess.Popen, Path, Path]:
        self._started += 1
        out, err = (self.folder / "log" / f"{self._started}-{command.name}.{kind}" for kind in ("out", "err"))
        self._remember(command)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command.argv,
                cwd=command.cwd or self.folder,
                env=os.environ | command.env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return process, out, err

    def _remember(self, command: Command) -> None:
        """Notes a command as a reader would type it: without the folders of this machine."""
        program, *rest = command.argv
        text = shlex.join([Path(program).name, *rest])
        for path, word in (
            (self.folder, "WORK"),
            (self.folder.parent, "."),
            (Path(__file__).parent, "benches/compare"),
        ):
            text = text.replace(str(path), word)
        if text not in self.commands:
            self.commands.append(text)

    # --- Waiting

    def renew(self) -> None:
        """From now on the limit counts anew."""
        self.deadline = time.monotonic() + self.limit_s

    def until(self, true: Callable[[], object], what: str) -> None:
        """Waits for a condition, but not beyond the phase's deadline or the end of a daemon."""
        while not true():
            for daemon in self._daemons:
                if daemon.process.poll() is not None:
                    raise Failed(
                        f"{daemon.name} ended with {daemon.process.returncode}: {last_words(daemon.err, daemon.out)}"
                    )
            self._check_deadline(what)
            time.sleep(PAUSE_S)

    def _check_deadline(self, what: str) -> None:
        if time.monotonic() > self.deadline:
            raise Failed(f"timed out after {self.limit_s:.0f} s: {what}")

    def _watch(self, names: dict[int, str]) -> None:
        poller, open_fds = select.poll(), {}
        for pid in names:
            open_fds[os.pidfd_open(pid)] = pid
        for fd in open_fds:
            poller.register(fd, select.POLLIN)
        try:
            while open_fds:
                self._check_deadline(", ".join(names[pid] for pid in open_fds.values()))
                for pid in open_fds.values():
                    for relative in [pid, *descendants(pid)]:
                        self.phase_now.saw(names[pid], peak_kib(relative))
                for fd, _ in poller.poll(SAMPLE_MS):
                    poller.unregister(fd)
                    os.close(fd)
                    del open_fds[fd]
        finally:
            for fd in open_fds:
                os.close(fd)

    # --- Measuring

    @contextmanager
    def phase(self) -> Iterator[Phase]:
        """Measures what happens inside. Daemons that are started inside must outlive it."""
        self.phase_now = Phase()
        self.renew()
        self._reset_peaks()
        cpu_before, ticks_before, started = self._cpu_seconds(), core_ticks(), time.perf_counter()
        yield self.phase_now
        self.phase_now.seconds = time.perf_counter() - started
        self.phase_now.idle = idle_share(ticks_before, core_ticks())
        self.phase_now.cpu_seconds = self._cpu_seconds() - cpu_before
        for daemon, pid in self._daemon_processes():
            self.phase_now.saw(daemon.name, peak_kib(pid))
        self.renew()

    def _cpu_seconds(self) -> float:
        """CPU time so far of everything that has ended (as rusage tells) and of every daemon with its children."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime + sum(cpu_seconds(pid) for _, pid in self._daemon_processes())

    def _reset_peaks(self) -> None:
        for _, pid in self._daemon_processes():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass  # it has ended since, or may not be reset: then the peak is one since its start

    def _daemon_processes(self) -> list[tuple[Daemon, int]]:
        by_session = {daemon.process.pid: daemon for daemon in self._daemons}
        found = ((by_session.get(session_of(pid)), pid) for pid in all_pids())
        return [(daemon, pid) for daemon, pid in found if daemon]


# --- /proc


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat_fields(pid: int) -> list[str]:
    """The fields after the program's name, which may itself contain spaces; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def session_of(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[3]) if fields else -1


def cpu_seconds(pid: int) -> float:
    """User and system time, with that of its ended children."""
    return sum(map(int, stat_fields(pid)[11:15])) / TICKS_PER_SECOND


def core_ticks() -> tuple[int, int]:
    """What all cores together have spent since the machine started: idle, and in all."""
    # user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice.
    ticks = [int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def idle_share(before: tuple[int, int], after: tuple[int, int]) -> float | None:
    idle, ticks = (late - early for early, late in zip(before, after, strict=True))
    return idle / ticks if ticks > 0 else None


def peak_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(below for child in children for below in descendants(child))]


def signal_session(leader: int, number: int) -> None:
    """Signals every process of the session that `leader` began: they need not be one process group."""
    for pid in all_pids():
        if session_of(pid) == leader:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def last_words(*files: Path) -> str:
    texts = (file.read_text(errors="replace").strip() for file in files)
    lines = next((text.splitlines() for text in texts if text), ["(no output)"])
    return " / ".join(line.strip() for line in lines[-3:])[:400]
