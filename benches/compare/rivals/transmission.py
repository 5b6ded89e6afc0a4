"""Transmission: a daemon each for the sharer and the nodes, the command-line client for receivers, opentracker."""

import json
import shlex
import signal
import urllib.error
from pathlib import Path

from ..isolate import LOOPBACK_NETWORK
from ..process import Command, Failed, Stage
from . import torrent
from .base import NODES, SHARER, Rival, accepts, first_line, free_port, post_json, remove
from .nginx import shell

# Not the port of libtorrent: nodes of both stay up at the same addresses.
PORT = 51413
SETTINGS = {
    "utp-enabled": False,
    "dht-enabled": False,
    "lpd-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "encryption": 0,
    "speed-limit-up-enabled": False,
    "speed-limit-down-enabled": False,
    "ratio-limit-enabled": False,
    "cache-size-mb": 64,
    "preallocation": 0,
    "peer-port": PORT,
    "rpc-whitelist-enabled": False,
    "rpc-host-whitelist-enabled": False,
}


class Transmission(Rival):
    name = "transmission"
    title = "Transmission + opentracker"
    remark = "BitTorrent"

    def install(self) -> None:
        self.tools.apt(transmission_daemon="transmission-daemon", transmission_cli="transmission-cli")
        torrent.install(self.tools)

    def version(self) -> str:
        return first_line("transmission-daemon", "--version").split()[1]

    def start(self, stage: Stage) -> None:
        super().start(stage)
        if stage.network == LOOPBACK_NETWORK:
            raise Failed("believes in no peers at 127.0.0.0/8, and no network namespace could be made")
        self.torrent = stage.folder / "shared.torrent"
        self.tracker = torrent.Tracker(stage, self.address(SHARER))
        self.session_ids: dict[int, str] = {}
        self.ports = {machine: self._daemon(machine) for machine in (SHARER, *NODES)}

    def _daemon(self, machine: int) -> int:
        port = free_port()
        settings = self._settings(
            f"config{machine}",
            self.address(machine),
            {"rpc-port": port, "download-dir": str(self.node_folder(machine))},
        )
        self.stage.start(
            "share" if machine == SHARER else f"node{machine}", ["transmission-daemon", "-f", "-g", str(settings)]
        )
        self.stage.until(lambda: accepts("127.0.0.1", port), f"transmission {machine} starts")
        return port

    def _settings(self, name: str, host: str, more: dict) -> Path:
        """A fresh folder: what a client noted there of an earlier round, it would believe."""
        folder = self.stage.folder / name
        if folder.exists():
            remove(folder)
        folder.mkdir()
        (folder / "settings.json").write_text(
            json.dumps(SETTINGS | {"bind-address-ipv4": host, "rpc-bind-address": "127.0.0.1"} | more)
        )
        return folder

    def share(self, source: Path) -> str:
        torrent.make_torrent(self.stage, source, self.torrent, self.tracker)
        self._ask(SHARER, "torrent-add", filename=str(self.torrent), **{"download-dir": str(source.parent)})
        self.tracker.until_seeds(self.torrent, 1)
        for node in NODES:
            self._ask(node, "torrent-add", filename=str(self.torrent))
        self.stage.until(lambda: all(self._is_complete(node) for node in NODES), "both nodes are complete")
        return source.name

    def _is_complete(self, node: int) -> bool:
        (found,) = self._ask(node, "torrent-get", fields=["percentDone", "status"])["torrents"]
        seeding = 6
        return found["percentDone"] == 1 and found["status"] == seeding

    def offer(self, handle: str) -> None:
        self._remove(SHARER, delete=False)
        self.tracker.until_seeds(self.torrent, 2)

    def get(self, handle: str, into: Path, receiver: int) -> Command:
        """The client would seed for ever: the script that it runs when all is there ends it."""
        settings = self._settings(f"receiver-config{receiver}", self.receiver_address(receiver), {})
        script, pid = settings / "finish.sh", settings / "pid"
        script.write_text(f"#!/bin/sh\nkill $(cat {shlex.quote(str(pid))})\n")
        script.chmod(0o755)
        client = ["transmission-cli", "-g", str(settings), "-f", str(script), "-w", str(into), str(self.torrent)]
        wait = f"echo $! >{shlex.quote(str(pid))}; wait $!; status=$?; [ $status -eq 0 ] || [ $status -eq {128 + signal.SIGTERM} ]"
        return shell("get", f"{shlex.join(client)} & {wait}")

    def copies(self, handle: str) -> list[Path]:
        return [self.node_folder(node) / handle for node in NODES]

    def drop(self, handle: str) -> None:
        self._remove(SHARER, delete=False)
        for node in NODES:
            self._remove(node, delete=True)
        self.stage.until(
            lambda: not any(copy.exists() for copy in self.copies(handle)), "the nodes delete their copies"
        )

    def _remove(self, machine: int, delete: bool) -> None:
        self._ask(machine, "torrent-remove", **{"delete-local-data": delete})

    def _ask(self, machine: int, method: str, **arguments: object) -> dict:
        url = f"http://127.0.0.1:{self.ports[machine]}/transmission/rpc"
        body = {"method": method, "arguments": arguments}
        try:
            answer = post_json(url, body, {"X-Transmission-Session-Id": self.session_ids.get(machine, "")})
        except urllib.error.HTTPError as refusal:
            if refusal.code != 409:
                raise
            # The first request learns the id that all later ones must show.
            self.session_ids[machine] = refusal.headers["X-Transmission-Session-Id"]
            return self._ask(machine, method, **arguments)
        return answer["arguments"]
