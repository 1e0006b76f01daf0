#!/bin/bash
# What a guard costs while nothing happens, and how soon it stands: memory, processor time and start by the number of guarded
# directories.
#
#     tests/bench/idle.sh [PROGRAM]
#
# As root. PROGRAM is target/release/pthguard if not given. COUNTS are the numbers of directories, SECONDS_IDLE how long nothing
# happens. The directories lie in a directory for temporary files, and nothing else is guarded; each holds one startup file. The
# rules are those of the built-in policy.
# "ready" is the first start, which records the baseline, "again" one with that state; memory is that of the second.
set -euo pipefail

program=${1:-$(dirname "$0")/../../target/release/pthguard}
[ -x "$program" ] || { echo "no $program: cargo build --release" >&2; exit 2; }
seconds=${SECONDS_IDLE:-30}
place=$(mktemp -d)
guard=
trap '[ -z "$guard" ] || kill "$guard" 2>/dev/null; rm -rf "$place"' EXIT
mkfifo "$place/never"
exec 3<>"$place/never" # nothing comes: to wait for it is to sleep, without a process that takes time from the guard

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
status() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$guard/status"; }

# Starts the guard, and sets `took` to the milliseconds until it is ready: its control socket comes last.
start() {
    local begin
    rm -f "$home/state/control"
    begin=$(date +%s%N)
    "$program" run --config "$home/pthguard.toml" 2>"$home/said" &
    guard=$!
    until [ -S "$home/state/control" ]; do
        kill -0 "$guard" || { cat "$home/said" >&2; exit 1; }
        read -rt 0.005 -u 3 || true
    done
    took=$((($(date +%s%N) - begin) / 1000000))
    "$program" status --config "$home/pthguard.toml" >/dev/null
}

stop() {
    kill "$guard"
    wait "$guard" || true
    guard=
}

printf '%12s %10s %10s %12s %14s %14s %10s\n' \
    directories 'ready ms' 'again ms' 'RSS KiB' 'anonymous KiB' 'CPU ms per s' threads
for count in ${COUNTS:-1 100 1000 10000}; do
    home=$place/$count
    mkdir -p "$home"
    for ((number = 0; number < count; number++)); do
        mkdir -p "$home/sites/$number/site-packages"
        echo '# nothing' >"$home/sites/$number/site-packages/x.pth"
    done
    cat >"$home/pthguard.toml" <<POLICY
mode = "enforce"
[protect]
sites = ["$home/sites/*/site-packages"]
discover_below = ["$home"]
[log]
syslog = false
json = "$home/events.ndjson"
[state]
dir = "$home/state"
POLICY
    chmod 600 "$home/pthguard.toml"
    sync
    start
    ready=$took
    stop
    start
    read -rt 10 -u 3 || true # what the start has left to do
    before=$(ticks "$guard")
    read -rt "$seconds" -u 3 || true
    spent=$((($(ticks "$guard") - before) * 1000 / $(getconf CLK_TCK)))
    printf '%12d %10d %10d %12d %14d %14s %10d\n' "$count" "$ready" "$took" "$(status VmRSS)" "$(status RssAnon)" \
        "$(awk -v spent="$spent" -v seconds="$seconds" 'BEGIN { printf "%.1f", spent / seconds }')" "$(status Threads)"
    stop
    rm -rf "$home"
done
