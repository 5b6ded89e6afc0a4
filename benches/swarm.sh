# What the benchmarks share: a tracker and peers as separate processes, below a directory that goes with them.
# Sourced, with `base` set to where the directory is to be.

cargo build --release --locked --quiet
bin=${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry
work=$(mktemp -d "$base/parcelry-bench.XXXXXX")
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config XDG_DATA_HOME=$work/data
servers=() others=()
trap 'kill "${others[@]}" "${servers[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

start() { # NAME ARGS…: starts a server and waits for its first line on stdout
    local name=$1; shift
    "$bin" "$@" --json >"$work/$name.out" 2>"$work/$name.err" &
    servers+=($!)
    for _ in $(seq 100); do [ -s "$work/$name.out" ] && return; sleep 0.1; done
    echo "$name did not start:" >&2; cat "$work/$name.err" >&2; exit 1
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }
median() { sort -g | awk '{ a[NR] = $1 } END { printf "%.3f", a[int((NR + 1) / 2)] }'; }
now() { date +%s.%N; }
peers=(a b)
start_peer() { # NAME [FLAG…]
    local name=$1; shift
    start "$name" peer --invite "$(field peer_invite "$work/tracker.out")" --listen 127.0.0.1:0 \
        --data "$work/$name" --name "$name" --keep-free 0B "$@"
}
start_swarm() { # [TRACKER FLAG…]: starts a tracker and the peers named in `peers`, and joins as a sender
    local name
    start tracker tracker --listen 127.0.0.1:0 --data "$work/t" "$@"
    for name in "${peers[@]}"; do start_peer "$name"; done
    PARCELRY_INVITE=$(field sender_invite "$work/tracker.out")
    export PARCELRY_INVITE
}
show_peaks() { # prints the peak memory of each server
    local index name
    for index in "${!servers[@]}"; do
        name=$(echo tracker peer-a peer-b | cut -d' ' -f$((index + 1)))
        awk -v name="$name" '/VmHWM/ { printf "  %s peak %.0f MiB\n", name, $2 / 1024 }' "/proc/${servers[$index]}/status"
    done
}
