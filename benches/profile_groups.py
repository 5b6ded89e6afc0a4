"""Reads what `perf script` prints of a recording, and tells what the time of each process went into.

    perf script … | rustfilt | profile_groups.py FOLDED FREQUENCY NAME=PID…

Prints a table: CPU seconds by group and process. Writes stacks for a flame graph to FOLDED, each process at the root of
its own; whatever has less than 0.2 % of all samples is counted as what called it, so that the graph stays small.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SMALLEST_SHARE = 0.002
NO_PROCESS, OTHERS = "no process", "others"

IDLE, WAKES, TCP, FILES = "idle", "scheduling, wakes", "kernel: TCP", "kernel: file system"
AES, BLAKE3, COPIES = "AES-GCM", "BLAKE3", "copies"
KERNEL_REST, REST = "kernel: rest", "rest"
GROUPS = [AES, BLAKE3, FILES, TCP, COPIES, WAKES, KERNEL_REST, REST, IDLE]

# In the kernel the first function that tells, from the innermost one outwards, decides: a wake within the sending of a
# packet is a wake, a copy within it is TCP. Copies of the kernel belong to what they are made for.
KERNEL = [
    (
        WAKES,
        r"try_to_wake_up|ttwu_|_*wake_|autoremove_wake|default_wake|woken_wake|pollwake|_*schedule|preempt_schedule|"
        r"sched_|scheduler_|finish_task_switch|_*switch_(to|mm)|(do_|_*)futex|__x64_sys_(futex|epoll|sched)|ep_|epoll|"
        r"do_epoll|eventfd|timerfd|hrtimer|tick_|update_process_times|run_timer|do_nanosleep|pick_next|pick_task|"
        r"enqueue_|dequeue_|select_task|update_(curr|load|rq|cfs|se)|load_balance|newidle|_*resched|"
        r"exit_to_user_mode_loop|native_smp_send|smp_call|_*flush_smp_call",
    ),
    (
        TCP,
        r"_*tcp_|tcp4|_*ip_|ipv4_|_*inet_|_*sock_|sk_|_*skb_|_*alloc_skb|kfree_skb|lock_sock|_*release_sock|nf_|"
        r"_*sys_(send|recv)|__x64_sys_(send|recv)|_*napi_|net_rx|net_tx|_*netif_|loopback_xmit|_*dev_|eth_|"
        r"process_backlog|validate_xmit|csum_|__copy_skb",
    ),
    (
        FILES,
        r"shmem_|vfs_|generic_(file|perform|write)|filemap_|ext4_|jbd2_|xfs_|btrfs_|iomap_|ksys_p?(read|write)|"
        r"__x64_sys_(p?read|p?write|f?sync|fdatasync|open|rename|unlink|ftruncate|fallocate|copy_file|stat|newfstat|"
        r"getdents|close)|do_sys_open|do_filp_open|path_|link_path|lookup_|do_fsync|do_unlink|do_rename|"
        r"truncate_|evict|iput|dput|_*fput",
    ),
]
# Outside the kernel only the innermost function counts: it is what the samples hit.
USER = [
    (BLAKE3, r"blake3"),
    (AES, r"(?<![a-z])v?aes|gcm|ghash"),
    (COPIES, r"^_*mem(cpy|move|set)|::copy_nonoverlapping"),
    (
        WAKES,
        r"^tokio::runtime::(scheduler|io|time|park|driver|context)|^tokio::(sync|time)|^mio::|^parking_lot|futex|"
        r"^std::sys::sync|^pthread_(mutex|cond)|__lll_",
    ),
]
KERNEL = [(group, re.compile(f"(?:{pattern})")) for group, pattern in KERNEL]
USER = [(group, re.compile(pattern)) for group, pattern in USER]


class Frame(NamedTuple):
    """A function on a stack."""

    name: str
    file: str
    in_kernel: bool


class Sample(NamedTuple):
    """What a core did at one moment: its process, and the stack from the innermost function outwards."""

    pid: int
    command: str
    stack: list[Frame]


def main() -> None:
    folded, frequency, *named = sys.argv[1:]
    names = {int(pid): name for name, _, pid in (word.rpartition("=") for word in named)}
    groups: Counter[tuple[str, str]] = Counter()
    stacks: Counter[tuple[str, ...]] = Counter()
    for sample in read(sys.stdin):
        process, group = process_of(sample, names), group_of(sample)
        groups[group, process] += 1
        path = (frame.name for frame in reversed(sample.stack))
        stacks[(IDLE,) if group == IDLE else (process, *path)] += 1
    if not groups:
        sys.exit("no samples: perf recorded nothing")
    Path(folded).write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in sorted(cut(stacks).items())))
    print(table(groups, [*names.values(), OTHERS, NO_PROCESS], float(frequency)))


# --- Reading

HEAD = re.compile(r"\s*(.+?)\s+(\d+)/\d+\s")
FRAME = re.compile(r"\s+([0-9a-f]+) (.*) \((.*)\)$")


def read(lines: Iterable[str]) -> Iterator[Sample]:
    """Samples stand apart by empty lines: a line that says whose, and one for each function."""
    sample = None
    for line in lines:
        line = line.rstrip()
        if not line:
            if sample:
                yield sample
            sample = None
        elif sample is None:
            head = HEAD.match(line + " ")
            sample = Sample(int(head[2]), head[1], []) if head else None
        elif frame := FRAME.match(line):
            # Addresses of the kernel have the highest bit set.
            in_kernel = int(frame[1], 16) >> 63 == 1
            sample.stack.append(Frame(frame[2] if in_kernel else short(frame[2]), frame[3], in_kernel))
    if sample:
        yield sample


def short(name: str) -> str:
    """A function's path without types in angle brackets: `<a::B<C> as d::E>::f` is `a::B::f`."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    while name.startswith("<"):
        inner, rest = split_bracket(name)
        name = outside_brackets(inner).partition(" as ")[0] + rest
    return outside_brackets(name).replace(";", ",") or "[unknown]"


def split_bracket(name: str) -> tuple[str, str]:
    """What is in the bracket that a name begins with, and what follows it."""
    depth = 0
    for at, (before, letter) in enumerate(zip(" " + name, name, strict=False)):
        depth += (letter == "<") - (letter == ">" and before != "-")
        if depth == 0:
            return name[1:at], name[at + 1 :]
    return name[1:], ""


def outside_brackets(name: str) -> str:
    depth, kept = 0, []
    for before, letter in zip(" " + name, name, strict=False):
        closes = letter == ">" and before != "-"
        depth += letter == "<"
        if depth == 0:
            kept.append(letter)
        depth -= closes and depth > 0
    return "".join(kept).replace("::::", "::")


# --- Grouping


def process_of(sample: Sample, names: dict[int, str]) -> str:
    return names.get(sample.pid, OTHERS if sample.pid else NO_PROCESS)


def group_of(sample: Sample) -> str:
    innermost = sample.stack[0] if sample.stack else None
    if innermost is None or innermost.in_kernel:
        for frame in sample.stack:
            for group, pattern in KERNEL:
                if frame.in_kernel and pattern.match(frame.name):
                    return group
        return KERNEL_REST if sample.pid else IDLE
    for group, pattern in USER:
        if pattern.search(innermost.name):
            return group
    # Where the symbols of the C library are not installed, what has no name there is nearly always a copy.
    nameless = innermost.name == "[unknown]" and Path(innermost.file).name.startswith("libc.")
    return COPIES if nameless else REST


def cut(stacks: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """The stacks without their ends that are too small to be seen."""
    within: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        for depth in range(len(stack)):
            within[stack[: depth + 1]] += count
    smallest = SMALLEST_SHARE * stacks.total()
    kept: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        depth = sum(within[stack[: depth + 1]] >= smallest for depth in range(len(stack)))
        kept[stack[: max(depth, 1)]] += count
    return kept


# --- Telling


def table(groups: Counter[tuple[str, str]], processes: list[str], frequency: float) -> str:
    """In seconds of CPU: each sample stands for the time between two."""
    columns = [process for process in processes if any(groups[group, process] for group in GROUPS)]
    all_samples = groups.total()

    def row(title: str, chosen: list[str]) -> str:
        counts = [sum(groups[group, process] for group in chosen) for process in columns]
        cells = [f"{count / frequency:.2f}" if count else "" for count in [*counts, sum(counts)]]
        return f"| {' | '.join([title, *cells, f'{sum(counts) / all_samples * 100:.1f} %'])} |"

    return "\n".join(
        [
            f"| seconds of CPU | {' | '.join([*columns, 'together', 'of all'])} |",
            "|---" * (len(columns) + 3) + "|",
            *(row(group, [group]) for group in GROUPS),
            row("all", GROUPS),
        ]
    )


if __name__ == "__main__":
    main()
