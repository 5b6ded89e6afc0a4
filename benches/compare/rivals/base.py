"""What the harness asks of every tool, and what several tools have in common."""

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from ..install import Tools
from ..process import Command, Stage

SHARER = 1
NODES = (2, 3)
FIRST_RECEIVER = 10


class Rival:
    """A tool. Its two nodes run all the time; a sharer and receivers come and go.

    The order of calls: `install`, `version`, `start`, then any number of rounds of `share` (timed), `offer`,
    `get` (timed), `drop`.
    """

    name = ""
    title = ""
    sources = "two"
    transport = "no"
    at_rest = "no"
    remark = ""
    # Tools that take minutes for the big file do it with a part of it; times are then told for that part.
    part = 1

    def __init__(self, tools: Tools):
        self.tools = tools
        self.stage: Stage

    def install(self) -> None:
        """Brings it here, or raises `Unavailable`."""

    def version(self) -> str:
        raise NotImplementedError

    def start(self, stage: Stage) -> None:
        """Starts what stays: nodes, trackers."""
        self.stage = stage

    def share(self, source: Path) -> str:
        """Puts complete copies of a file or folder onto both nodes; returns what a receiver needs to know."""
        raise NotImplementedError

    def offer(self, handle: str) -> None:
        """What must happen, untimed, before the nodes serve without the sharer."""

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        """The receiver's command, which saves what was shared in the folder `into` under its own name."""
        raise NotImplementedError

    def copies(self, handle: str) -> list[Path]:
        """Where on the nodes the copies are, if they are as the original."""
        return []

    def drop(self, handle: str) -> None:
        """Forgets what was shared, and waits until its space is free."""

    def reference(self) -> Command | None:
        """A single trivial request to one of its servers, to hold the smallest transfers against."""
        return None

    # --- What the tools' own files need

    def address(self, machine: int) -> str:
        """Every node, sharer and receiver has an address of its own, as machines have: several BitTorrent clients
        tell peers apart by their IP address only."""
        return f"{self.stage.network}{10 + machine}"

    def receiver_address(self, receiver: int) -> str:
        return self.address(FIRST_RECEIVER + receiver)

    def node_folder(self, node: int) -> Path:
        folder = self.stage.folder / f"node{node}"
        folder.mkdir(exist_ok=True)
        return folder


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def first_line(*argv: str) -> str:
    """The first line of what a program prints about its version, on either stream."""
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def post_json(url: str, body: object, headers: dict[str, str] | None = None) -> dict:
    """Asks a tool's own control interface on this machine."""
    headers = {"Content-Type": "application/json"} | (headers or {})
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
