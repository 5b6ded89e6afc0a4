"""A network namespace of our own: nothing but loopback is there.

No tool can reach a tracker, relay or update server outside, none can be reached, and no port is taken. Loopback
has a second network there, for some tools refuse to believe in peers at 127.0.0.0/8.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, IFF_UP = 0x8913, 0x8914, 0x8916, 0x891C, 0x1

# Where the machines of the comparison are: number them in the last part.
OWN_NETWORK = "10.77.0."
LOOPBACK_NETWORK = "127.0.0."


def isolate() -> str | None:
    """Moves this process, and with it all that it starts, into a new network namespace; the network that is there,
    or nothing if that may not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        if libc.unshare(CLONE_NEWNET) != 0:
            return None
    else:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return None
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    raise_loopback()
    return OWN_NETWORK


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
        # A network on the loopback device is this machine's own, with every address in it.
        fcntl.ioctl(any_socket, SIOCSIFADDR, address_request(OWN_NETWORK + "1"))
        fcntl.ioctl(any_socket, SIOCSIFNETMASK, address_request("255.255.255.0"))


def address_request(address: str) -> bytes:
    return struct.pack("16sHH4s16x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
