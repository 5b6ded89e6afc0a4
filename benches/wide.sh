#!/usr/bin/env bash
# Times `get` across a wide area: a tracker, two peers and a receiver as hosts of their own (network namespaces),
# 100 ms apart, with a bottleneck of 1 Gb/s in front of the receiver.
#
#   benches/wide.sh [OPTION…]
#     --case a|b       one case only: a without loss, b with 1 % random loss      default: both
#     --rounds N       runs of each, of which the median counts                   default: 3
#     --size-a MIB     the file of case a                                         default: 1024
#     --size-b MIB     the file of case b                                         default: 128
#     --cc NAME        congestion control of all hosts                            default: cubic
#     --mtu BYTES                                                                 default: 1500
#     --loss-both      packets get lost on the way from the receiver, too; otherwise on the way to it
#     --seed N         of the random loss (where the kernel's netem makes it, chance has no seed)
#     --folder DIR     a RAM disk, with 6 times the larger file free              default: /dev/shm
#     --check          exit status 1 if a bound is missed:
#                        a: after start-up `get` runs at 90 % of the bottleneck or more
#                        b: `get` takes no longer than 16 parallel HTTP downloads of the same file
#     --docs           writes the table into docs/performance.md, too
#
# Needs root, iproute2, nginx, curl, aria2, iperf3, ping, and ethtool where the kernel has netem; it installs what is
# missing where there is apt-get. PARCELRY_BIN names a binary to measure instead of building one, WAN_TARGET_DIR
# a folder to build benches/wan in other than target/wan.
#
# The network is the kernel's netem where it has that, and benches/wan otherwise. Before anything is timed the
# network itself is: exit status 3 says that it is not what it should be, and so nothing is known about parcelry.
# It cannot be on a machine that is busy with something else: the cores that carry it run all hosts, too.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

rate_mbit=1000 rtt_ms=100 loss=0.01
declare -A mib=([a]=1024 [b]=128)
cases="a b" rounds=3 cc=cubic mtu=1500 loss_both=0 seed=1 base=/dev/shm check=0 docs=0
# Left out of the rate after start-up: connections are made and windows grow; the last chunks are no longer parallel.
start_s=3 end_s=0.5

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
    case $1 in
        --case) cases=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --size-a) mib[a]=$2; shift ;;
        --size-b) mib[b]=$2; shift ;;
        --cc) cc=$2; shift ;;
        --mtu) mtu=$2; shift ;;
        --loss-both) loss_both=1 ;;
        --seed) seed=$2; shift ;;
        --folder) base=$2; shift ;;
        --check) check=1 ;;
        --docs) docs=1 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "needs root, to make network namespaces" >&2; exit 2; }
tools=(ip tc chrt nginx curl aria2c iperf3 ping)
have_all() { for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || return 1; done; }
if ! have_all && command -v apt-get >/dev/null; then
    packages=(iproute2 util-linux nginx-light curl aria2 iperf3 iputils-ping ethtool)
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"; } >&2
fi
have_all || { echo "needs ${tools[*]}" >&2; exit 2; }

say() { echo "$*" >&2; }
broken() { say "the network is not what it should be: $*"; exit 3; }
calc() { awk "BEGIN { printf \"%.${2:-0}f\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }
now() { date +%s.%N; }
median() { sort -g | awk '{ a[NR] = $1 } END { if (NR) printf "%.2f", a[int((NR + 1) / 2)] }'; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }

if [ -n "${PARCELRY_BIN:-}" ]; then
    bin=$(realpath "$PARCELRY_BIN")
else
    cargo build --release --locked --quiet
    bin=$(realpath "${CARGO_TARGET_DIR:-target}/release/parcelry")
fi

# --- The hosts ------------------------------------------------------------------------------------------------

work=$(mktemp -d "$base/parcelry-wide.XXXXXX")
net=wide$$
hosts=(tracker peer-a peer-b receiver)
declare -A address=([tracker]=10.77.0.1 [peer-a]=10.77.0.11 [peer-b]=10.77.0.12 [receiver]=10.77.0.20)
sender_address=10.78.0.1
spaces=() wan_pid='' allowed=''

clean_up() {
    local space pid
    for space in "${spaces[@]}"; do # only what runs in namespaces that were made here
        for pid in $(ip netns pids "$space" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
    done
    [ -z "$wan_pid" ] || kill "$wan_pid" 2>/dev/null || true
    wait 2>/dev/null || true
    for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null || true; done
    [ -z "$allowed" ] || sysctl -qw net.ipv4.tcp_allowed_congestion_control="$allowed"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

at() { # HOST COMMAND…: runs it there, with a state of its own; exec'd, so that $! is the command's
    local host=$1; shift
    XDG_STATE_HOME=$work/$host/state XDG_CONFIG_HOME=$work/$host/config XDG_DATA_HOME=$work/$host/data \
        exec ip netns exec "$net-$host" "$@"
}
make_host() { # NAME
    spaces+=("$net-$1")
    ip netns add "$net-$1"
    ip -n "$net-$1" link set lo up
    # Large windows as on a server that is tuned for long distances; the same for everybody. Nothing is remembered
    # of earlier connections, so that no run depends on those before it.
    (at "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control="$cc" \
        net.ipv4.tcp_rmem="4096 131072 33554432" net.ipv4.tcp_wmem="4096 65536 33554432" \
        net.ipv4.tcp_no_metrics_save=1)
}
lan() { # HOST: a fast cable from the sender to it; the sender is not what is measured
    ip -n "$net-sender" link add "to-$1" mtu 9000 type veth peer name lan0 mtu 9000 netns "$net-$1"
    ip -n "$net-sender" link set "to-$1" up
    ip -n "$net-$1" link set lan0 up
    ip -n "$net-sender" route add "${address[$1]}" dev "to-$1" src "$sender_address"
    ip -n "$net-$1" route add "$sender_address" dev lan0
}

# A namespace other than the first may only use what the first allows, and that may be less than what there is.
if ! sysctl -n net.ipv4.tcp_allowed_congestion_control | grep -qw "$cc"; then
    allowed=$(sysctl -n net.ipv4.tcp_allowed_congestion_control)
    sysctl -qw net.ipv4.tcp_allowed_congestion_control="$allowed $cc"
fi
for host in "${hosts[@]}" sender; do make_host "$host"; done

# --- The network: half of the round trip on the line to each host, the bottleneck on the receiver's --------------

queue_bytes=$((rate_mbit * rtt_ms * 1000 / 8)) # one round trip's worth, as on a router for such distances
spaces+=("$net-wan")
ip netns add "$net-wan"
if tc -n "$net-wan" qdisc add dev lo root netem delay 1ms 2>/dev/null; then emulator=netem; else emulator=wan; fi

line() { # HOST LOSS: what the line to it is like, in the words of the emulator
    local lossy=0
    [ "$1" = receiver ] || [ "$loss_both" = 1 ] && lossy=$2
    if [ "$emulator" = netem ]; then
        # The limit counts what travels, too. The rate is of whole IP packets: without the 14 bytes of Ethernet.
        local limit=$(((queue_bytes + queue_bytes / 2) / mtu)) rate=''
        [ "$1" != receiver ] || rate="rate ${rate_mbit}mbit -14"
        echo "limit $limit delay $((rtt_ms / 2))ms loss random $(calc "$lossy * 100" 3)% $rate"
    else
        local rate=''
        [ "$1" != receiver ] || rate=",rate=$rate_mbit,queue=$queue_bytes"
        echo "$net-$1,${address[$1]},delay=$((rtt_ms / 2)),loss=$lossy$rate"
    fi
}
set_loss() { # FRACTION
    local host
    for host in "${hosts[@]}"; do
        # shellcheck disable=SC2046 # words are meant
        if [ "$emulator" = netem ]; then tc -n "$net-wan" qdisc change dev "$host" root netem $(line "$host" "$1")
        else line "$host" "$1" >&"$wan_in"; fi
    done
}
wan_counts() { # the receiver's line in the emulator's account since the last call, as KEY=VALUE words
    [ "$emulator" = wan ] || return 0
    local text found=''
    echo counts >&"$wan_in"
    while read -r text <&"$wan_out" && [ "$text" != end ]; do
        [[ $text != "${address[receiver]} "* ]] || found=${text#* }
    done
    echo "$found"
}
if [ "$emulator" = netem ]; then
    command -v ethtool >/dev/null || { echo "needs ethtool" >&2; exit 2; }
    header_bytes=66 # of each packet that the interface counts: Ethernet, IP, TCP with timestamps
    ip -n "$net-wan" link add hub type bridge
    ip -n "$net-wan" link set hub up
    for host in "${hosts[@]}"; do
        ip -n "$net-wan" link add "$host" mtu "$mtu" type veth peer name wan0 mtu "$mtu" netns "$net-$host"
        ip -n "$net-wan" link set "$host" master hub up
        # Otherwise netem would lose up to 64 KiB at once: it takes what the host hands over as one packet.
        (at "$host" ethtool -K wan0 tso off gso off gro off) >/dev/null
        # shellcheck disable=SC2046 # words are meant
        tc -n "$net-wan" qdisc add dev "$host" root netem $(line "$host" 0)
    done
else
    header_bytes=52
    CARGO_TARGET_DIR=${WAN_TARGET_DIR:-target/wan} cargo build --release --locked --quiet --manifest-path benches/wan/Cargo.toml
    lines=()
    for host in "${hosts[@]}"; do lines+=("$(line "$host" 0)"); done
    # Before everybody else: the network must stay what it is when the hosts are busy.
    coproc WAN { exec chrt --fifo 1 "${WAN_TARGET_DIR:-target/wan}/release/parcelry-wan" "$mtu" "$seed" "${lines[@]}"; }
    # shellcheck disable=SC2153 # coproc sets it
    wan_pid=$WAN_PID
    exec {wan_in}>&"${WAN[1]}" {wan_out}<&"${WAN[0]}" # copies: subshells may not use those of a coproc
    read -r ready <&"$wan_out" && [ "$ready" = ready ]
fi
for host in "${hosts[@]}"; do
    ip -n "$net-$host" addr add "${address[$host]}/24" dev wan0
    ip -n "$net-$host" link set wan0 up
done
ip -n "$net-sender" addr add "$sender_address/32" dev lo
for host in tracker peer-a peer-b; do lan "$host"; done

# --- Measuring ------------------------------------------------------------------------------------------------

sample() { # a line every 100 ms: time, and what the receiver's interface has taken in
    # shellcheck disable=SC2016 # for the inner shell
    at receiver bash -c 'cd /sys/class/net/wan0/statistics
        exec {never}<> <(:)
        while :; do
            read -r bytes <rx_bytes; read -r packets <rx_packets
            echo "$EPOCHREALTIME $bytes $packets"
            read -rt 0.1 -u "$never" || true
        done'
}
steady_mbit() { # BEGIN END: the mean rate of payload in between, without start-up and end, or nothing if that is too short
    awk -v from="$(calc "$1 + $start_s" 6)" -v to="$(calc "$2 - $end_s" 6)" -v header="$header_bytes" '
        $1 >= from && $1 <= to { if (!t0) { t0 = $1; b0 = $2; p0 = $3 } t = $1; b = $2; p = $3 }
        END { if (t - t0 >= 1) printf "%.1f", 8 * (b - b0 - header * (p - p0)) / (t - t0) / 1e6 }' "$work/samples"
}
ticks() { # of processor time: of the emulator, of all cores when busy, of all cores
    local own=0
    [ -z "$wan_pid" ] || own=$(awk '{ print $14 + $15 }' "/proc/$wan_pid/stat")
    awk -v own="$own" '/^cpu / { all = $2+$3+$4+$5+$6+$7+$8; print own, all - $5 - $6, all }' /proc/stat
}
unsent() { # packets that the hosts could not even hand to the network
    local host
    for host in "${hosts[@]}"; do (at "$host" cat /sys/class/net/wan0/statistics/tx_dropped); done | paste -sd' '
}
measure() { # NAME FILE COMMAND…: runs it at the receiver, where it makes $work/got of FILE, and keeps what was seen
    local name=$1 file=$2 began ended before unsent sampler counts status=0; shift 2
    rm -rf "$work/got" "$work/receiver"; mkdir "$work/got"
    wan_counts >/dev/null; unsent=$(unsent)
    sample >"$work/samples" & sampler=$!
    before=$(ticks)
    began=$(now)
    (at receiver "$@") >"$work/run.out" 2>"$work/run.err" || status=$?
    ended=$(now)
    [ "$status" = 0 ] || { say "$name failed with status $status:"; tail -n 20 "$work/run.out" "$work/run.err" >&2; exit 1; }
    echo "$before $(ticks)" | awk -v s="$(calc "$ended - $began" 3)" -v hz="$(getconf CLK_TCK)" \
        '{ printf "emulator %.2f cores, machine %.0f %% busy;", ($4 - $1) / hz / s, 100 * ($5 - $2) / ($6 - $3) }' >"$work/$name.load"
    kill "$sampler"; wait "$sampler" 2>/dev/null || true
    [ ! -e "$work/got/part0" ] || cat "$work/got/part"{0..15} >"$work/got/file"
    cmp "$file" "$work/got/file"
    calc "$ended - $began" 3 >>"$work/$name.s"; echo >>"$work/$name.s"
    steady_mbit "$began" "$ended" >>"$work/$name.mbit"; echo >>"$work/$name.mbit"
    counts=$(wan_counts)
    say "  $name: $(tail -n 1 "$work/$name.s") s, $(tail -n 1 "$work/$name.mbit") Mb/s after start-up;" \
        "$(cat "$work/$name.load") $counts"
    # Nothing may get lost but what was meant to.
    [[ $counts != *overrun=[1-9]* ]] || broken "$counts"
    [ "$unsent" = "$(unsent)" ] || broken "a host dropped what it was to send: $unsent before, $(unsent) after"
}

# 16 connections over the two servers, 8 each. What the parts cost to join is not counted.
# shellcheck disable=SC2016 # for the inner shell
curl_16='size=$1 folder=$2; shift 2
    part=$(((size + 15) / 16)) pids=()
    for n in {0..15}; do
        url=$1; set -- "$2" "$1"
        curl -sS --fail --range "$((n * part))-$(((n + 1) * part - 1))" -o "$folder/part$n" "$url" & pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done'
round() { # CASE FILE LINK: each of the three once
    local file=$2 urls=("http://${address[peer-a]}:8080/${2##*/}" "http://${address[peer-b]}:8080/${2##*/}")
    measure "$1-parcelry" "$file" "$bin" get -q "$3" -o "$work/got/file"
    measure "$1-curl" "$file" bash -c "$curl_16" _ "$(stat -c %s "$file")" "$work/got" "${urls[@]}"
    measure "$1-aria2" "$file" aria2c -q --no-conf -x 8 -s 16 -k 1M --file-allocation=none -d "$work/got" -o file "${urls[@]}"
}

# --- Is the network what it should be? --------------------------------------------------------------------------

# The most payload that fits: each packet carries 20 bytes of IP and 32 of TCP with timestamps.
ceiling_mbit=$(calc "$rate_mbit * ($mtu - 52) / $mtu" 1)
path_mbit() { # STREAMS: payload from a peer to the receiver after start-up, read off the same counter as later
    local began server sampler
    (at peer-a iperf3 -s -1) >/dev/null & server=$!
    sleep 0.5
    sample >"$work/samples" & sampler=$!
    began=$(now)
    (at receiver iperf3 -c "${address[peer-a]}" -R -t 9 -P "$1") >/dev/null
    steady_mbit "$began" "$(now)"
    kill "$sampler"; wait "$sampler" "$server" 2>/dev/null || true
}
ping_loss() { (at receiver ping -q -c 3000 -i 0.002 "${address[peer-b]}" || true) | sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p'; }

say "Calibrating ($emulator, MTU $mtu, $cc)"
rtt=$( (at receiver ping -q -c 20 -i 0.05 "${address[peer-a]}") | sed -n 's|^rtt [^=]*= [0-9.]*/\([0-9.]*\)/.*|\1|p')
path_1=$(path_mbit 1)
path_4=$(path_mbit 4)
set_loss "$loss"; lost=$(ping_loss); set_loss 0
lost_expected=$(calc "100 * (1 - (1 - $loss) ^ (1 + $loss_both))" 2)
say "  round trip $rtt ms; payload $path_1 Mb/s in one TCP connection, $path_4 Mb/s in four, of $ceiling_mbit Mb/s that fit;" \
    "in case b ping loses $lost % ($lost_expected % expected)"
holds "$rtt >= $rtt_ms && $rtt <= $rtt_ms * 1.05" || broken "round trip"
holds "$path_4 >= 0.95 * $ceiling_mbit && $path_4 <= 1.02 * $ceiling_mbit" || broken "rate; is the machine busy with something else?"
holds "$lost > $lost_expected / 2 && $lost < $lost_expected * 1.5" || broken "loss"

# --- A swarm, and two web servers with the same files -----------------------------------------------------------

serve() { # HOST ARGS…: starts parcelry there and waits for its first line on stdout
    local host=$1; shift
    (at "$host" "$bin" "$@" --json) >"$work/$host.out" 2>"$work/$host.err" &
    for _ in $(seq 100); do [ -s "$work/$host.out" ] && return; sleep 0.1; done
    say "$host did not start:"; cat "$work/$host.err" >&2; exit 1
}
web() { # HOST
    mkdir "$work/$1-web"
    cat >"$work/$1-web/nginx.conf" <<EOF
daemon off; user root; worker_processes 1; pid $work/$1-web/pid; error_log stderr;
events { worker_connections 256; }
http { access_log off; sendfile on; tcp_nopush on; server { listen ${address[$1]}:8080; root $work/files; } }
EOF
    (at "$1" nginx -e stderr -p "$work/$1-web" -c nginx.conf) 2>"$work/$1-web/log" &
}
serve tracker tracker --listen "${address[tracker]}:9090" --public-url "https://${address[tracker]}:9090" \
    --data "$work/t" --heartbeat 2s
for host in peer-a peer-b; do
    serve "$host" peer --invite "$(field peer_invite "$work/tracker.out")" --name "$host" --data "$work/$host-chunks" \
        --listen "${address[$host]}:9191" --public-addr "${address[$host]}:9191" --keep-free 0B
    web "$host"
done
PARCELRY_INVITE=$(field sender_invite "$work/tracker.out")
export PARCELRY_INVITE
mkdir "$work/files"

for case in $cases; do
    # The first touch of memory is slow on a virtual machine: touch and release it before.
    head -c "$((mib[$case] * 2))M" /dev/zero >"$work/warm"; rm "$work/warm"
    head -c "${mib[$case]}M" /dev/urandom >"$work/files/$case"
    link=$(at sender "$bin" share -q "$work/files/$case")
    say "Case $case: ${mib[$case]} MiB"
    if [ "$case" = b ]; then set_loss "$loss"; else set_loss 0; fi
    for _ in $(seq "$rounds"); do round "$case" "$work/files/$case" "$link"; done
    set_loss 0
done

# --- The account ----------------------------------------------------------------------------------------------

verdict() { if holds "$1"; then echo met; else echo '**missed**'; fi; } # CONDITION
steady() { { grep . "$work/$1-$2.mbit" || true; } | median; } # CASE NAME
row() { # CASE NAME WORDS VERDICT
    local s rate share=–
    s=$(median <"$work/$1-$2.s"); rate=$(steady "$1" "$2")
    if [ -n "$rate" ]; then share="$(calc "100 * $rate / $ceiling_mbit" 1) %"; rate="$(calc "$rate" 1) Mb/s"; fi
    echo "| $1 | $3 | ${mib[$1]} MiB | $s s | $(calc "${mib[$1]} * 1.048576 / $s" 1) MB/s | ${rate:-–} | $share | $4 |"
}
account() {
    local way='on the way to the receiver' by=netem case best rate s
    [ "$loss_both" = 0 ] || way='on the way to each host'
    [ "$emulator" = netem ] || by='`benches/wan`, in user space,'
    cat <<EOF
## Across a wide area

\`benches/wide.sh\` measures \`get\` from two peers, next to 16 plain HTTP downloads at once from nginx on the same two, 8 from each:
\`curl --range\` with fixed ranges, and \`aria2c -x 8 -s 16\`.

Hosts $rtt_ms ms apart, $rate_mbit Mb/s in front of the receiver (queue $((queue_bytes / 1000)) kB), MTU $mtu, TCP $cc, windows up to 32 MiB; in
case b $(calc "$loss * 100") % of packets are lost at random $way. Emulated by $by on $(nproc) cores that
run all hosts, too. The network alone: round trip $(calc "$rtt" 1) ms; $path_4 Mb/s of payload in four TCP connections ($path_1 in one)
of $ceiling_mbit that fit beside the headers; ping lost $(calc "$lost" 2) % in case b. Medians of $rounds. "After start-up" is the mean rate of
payload at the receiver's interface from $start_s s after the command began until $end_s s before it ended.

| case | | file | time | whole transfer | after start-up | of the bottleneck | bound |
|---|---|---|---|---|---|---|---|
EOF
    for case in $cases; do
        best=$( (median <"$work/$case-curl.s"; echo; median <"$work/$case-aria2.s") | sort -g | head -n 1)
        s=$(median <"$work/$case-parcelry.s")
        if [ "$case" = a ]; then
            rate=$(steady a parcelry)
            row a parcelry '`parcelry get`' "≥ 90 %: $(verdict "${rate:-0} >= 0.9 * $ceiling_mbit")"
        else
            row b parcelry '`parcelry get`' "≤ $best s: $(verdict "$s <= $best")"
        fi
        row "$case" curl 'curl, 16 ranges' ''
        row "$case" aria2 'aria2c, 16 connections' ''
    done
}
account >"$work/account"
cat "$work/account"
if [ "$docs" = 1 ]; then
    page=docs/performance.md
    [ -e "$page" ] || echo '# Performance' >"$page"
    grep -q '^<!-- wide:begin -->$' "$page" || printf '\n<!-- wide:begin -->\n<!-- wide:end -->\n' >>"$page"
    awk -v account="$work/account" '
        /^<!-- wide:end -->$/ { inside = 0 }
        !inside { print }
        /^<!-- wide:begin -->$/ { inside = 1; while ((getline text <account) > 0) print text }' "$page" >"$work/page"
    cat "$work/page" >"$page"
fi
if [ "$check" = 1 ] && grep -q 'missed' "$work/account"; then say "a bound was missed"; exit 1; fi
