"""What the BitTorrent clients without a list of known peers need: a tracker, torrents, and a look at the tracker."""

import hashlib
import os
import signal
import urllib.parse
import urllib.request
from pathlib import Path

from ..install import Tools
from ..process import Command, Stage
from .base import accepts, free_port


def install(tools: Tools) -> None:
    tools.apt(opentracker="opentracker", mktorrent="mktorrent")


class Tracker:
    """opentracker, which hands every announced peer to every other at once."""

    def __init__(self, stage: Stage, host: str):
        self.stage = stage
        port = free_port(host)
        self.base = f"http://{host}:{port}"
        self.url = f"{self.base}/announce"
        self.allowed = stage.folder / "allowed"
        self.allowed.touch()
        where = ["-d", str(stage.folder), "-w", self.allowed.name]
        self.daemon = stage.start("tracker", ["opentracker", "-i", host, "-p", str(port), "-P", str(port), *where])
        stage.until(lambda: accepts(host, port), "opentracker starts")

    def allow(self, torrent: Path) -> None:
        """Debian's build serves only torrents on its list, which it reads again when it is told to."""
        self.allowed.write_text(info_hash(torrent).hex() + "\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        nobody = {"info_hash": info_hash(torrent), "peer_id": "-nobody-" * 2 + "-12-", "port": 1, "event": "stopped"}
        self.stage.until(lambda: b"failure" not in self._ask("announce", **nobody), "the tracker serves the torrent")

    def seeds(self, torrent: Path) -> int:
        """How many have announced that they are complete."""
        _, found, rest = self._ask("scrape", info_hash=info_hash(torrent)).partition(b"8:completei")
        return int(rest.partition(b"e")[0]) if found else 0

    def until_seeds(self, torrent: Path, count: int) -> None:
        self.stage.until(lambda: self.seeds(torrent) >= count, f"the tracker knows {count} seeds")

    def _ask(self, what: str, **query: object) -> bytes:
        with urllib.request.urlopen(
            f"{self.base}/{what}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}", timeout=10
        ) as answer:
            return answer.read()


def make_torrent(stage: Stage, source: Path, torrent: Path, tracker: Tracker | None) -> None:
    """Hashes the source with all cores."""
    announce = ["-a", tracker.url] if tracker else []
    torrent.unlink(missing_ok=True)
    stage.run(
        Command(
            "mktorrent",
            ["mktorrent", *announce, "-p", "-d", "-t", str(os.cpu_count()), "-o", str(torrent), str(source)],
        )
    )
    if tracker:
        tracker.allow(torrent)


def info_hash(torrent: Path) -> bytes:
    """The SHA-1 of the info dictionary, which mktorrent writes last."""
    content = torrent.read_bytes()
    return hashlib.sha1(content[content.index(b"4:info") + 6 : -1]).digest()
