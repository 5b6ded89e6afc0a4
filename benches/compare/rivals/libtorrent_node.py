"""libtorrent's Python binding as a program: a node that is told what to do, a sharer, or a receiver.

Runs in the venv, beside the harness, so that it is measured as a process of its own.

    libtorrent_node.py node ADDRESS PORT                   reads lines from stdin: add TORRENT FOLDER PEER | drop
    libtorrent_node.py share ADDRESS PORT SOURCE TORRENT   writes the torrent, prints "seeding", seeds until killed
    libtorrent_node.py get ADDRESS PORT TORRENT FOLDER PEER…   ends when complete

A PEER is ADDRESS:PORT: everybody is told whom to connect to, as a tracker would, but without waiting for one.
"""

import os
import sys
import time

import libtorrent as lt

# Everything that finds peers by itself is off, and so is all that limits or encrypts. To libtorrent's own preset for
# seeding as fast as it can come the three values that made it twice as fast on loopback: it looks at its queues every
# tick, its preset lets only 7 MiB wait for the disk, and suggesting cached pieces helps only with slow disks.
SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.pe_disabled),
    "out_enc_policy": int(lt.enc_policy.pe_disabled),
    "allow_multiple_connections_per_ip": True,
    "upload_rate_limit": 0,
    "download_rate_limit": 0,
    "unchoke_slots_limit": -1,
    "connection_speed": 500,
    "torrent_connect_boost": 50,
    "tick_interval": 100,
    "max_queued_disk_bytes": 64 << 20,
    "suggest_mode": 0,
    "hashing_threads": os.cpu_count(),
    "aio_threads": max(2, os.cpu_count()),
    "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
}


def main() -> None:
    role, address, port, *rest = sys.argv[1:]
    settings = lt.high_performance_seed() | SETTINGS
    settings |= {"listen_interfaces": f"{address}:{port}", "outgoing_interfaces": address}
    session = lt.session(settings)
    {"node": node, "share": share, "get": get}[role](session, *rest)


def node(session: lt.session) -> None:
    print("ready", flush=True)
    handle = None
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "add":
            handle = add(session, *rest)
            wait_complete(session, handle)
            print("complete", flush=True)
        elif word == "drop":
            session.remove_torrent(handle, lt.session.delete_files)
            wait_alert(session, lt.torrent_deleted_alert)
            print("dropped", flush=True)


def share(session: lt.session, source: str, torrent: str) -> None:
    files = lt.list_files(source)
    creator = lt.create_torrent(files, 0, lt.create_torrent.v1_only)
    folder = os.path.dirname(source)
    lt.set_piece_hashes(creator, folder)
    with open(torrent, "wb") as file:
        file.write(lt.bencode(creator.generate()))
    add(session, torrent, folder, flags=lt.torrent_flags.seed_mode)
    print("seeding", flush=True)
    while True:
        time.sleep(3600)


def get(session: lt.session, torrent: str, folder: str, *peers: str) -> None:
    wait_complete(session, add(session, torrent, folder, *peers))


def add(session: lt.session, torrent: str, folder: str, *peers: str, flags: int = 0) -> lt.torrent_handle:
    params = lt.load_torrent_file(torrent)
    params.save_path = folder
    params.flags = (params.flags | flags) & ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    params.peers = [(host, int(port)) for host, port in (peer.split(":") for peer in peers)]
    return session.add_torrent(params)


def wait_complete(session: lt.session, handle: lt.torrent_handle) -> None:
    """Waits until everything is on the disk, not only received."""
    wait_alert(session, lt.torrent_finished_alert)
    handle.flush_cache()
    wait_alert(session, lt.cache_flushed_alert)


def wait_alert(session: lt.session, kind: type) -> None:
    while True:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, kind):
                return
            if "error" in alert.what():
                print(alert.message(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
