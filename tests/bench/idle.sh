#!/bin/bash
# What an idle guard costs: memory, and processor time while nothing happens, by the number of guarded directories.
#
#     tests/bench/idle.sh [PROGRAM]
#
# As root. PROGRAM is target/release/pthguard if not given. The directories lie in a directory for temporary files, and
# nothing else is guarded; each holds one startup file.
set -euo pipefail

program=${1:-$(dirname "$0")/../../target/release/pthguard}
[ -x "$program" ] || { echo "no $program: cargo build --release" >&2; exit 2; }
seconds=${SECONDS_IDLE:-30}
place=$(mktemp -d)
guard=
trap '[ -z "$guard" ] || kill "$guard" 2>/dev/null; rm -rf "$place"' EXIT

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
status() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$guard/status"; }

printf '%12s %12s %12s %14s %12s\n' directories 'ready ms' 'RSS KiB' 'CPU ms per s' threads
for count in ${COUNTS:-1 100 1000 10000}; do
    home=$place/$count
    mkdir -p "$home"
    for ((number = 0; number < count; number++)); do
        mkdir -p "$home/sites/$number/site-packages"
        echo '# nothing' >"$home/sites/$number/site-packages/x.pth"
    done
    cat >"$home/pthguard.toml" <<POLICY
include_default = false
mode = "enforce"
[protect]
sites = ["$home/sites/*/site-packages"]
[log]
syslog = false
json = "$home/events.ndjson"
[state]
dir = "$home/state"
POLICY
    chmod 600 "$home/pthguard.toml"
    begin=$(date +%s%N)
    "$program" run --config "$home/pthguard.toml" 2>"$home/said" &
    guard=$!
    until "$program" status --config "$home/pthguard.toml" >/dev/null 2>&1; do
        kill -0 "$guard" || { cat "$home/said" >&2; exit 1; }
        sleep 0.01
    done
    ready=$((($(date +%s%N) - begin) / 1000000))
    sleep 5 # what the start has left to do
    before=$(ticks "$guard")
    sleep "$seconds"
    spent=$((($(ticks "$guard") - before) * 1000 / $(getconf CLK_TCK)))
    printf '%12d %12d %12d %14s %12d\n' "$count" "$ready" "$(status VmRSS)" \
        "$(awk -v spent="$spent" -v seconds="$seconds" 'BEGIN { printf "%.1f", spent / seconds }')" "$(status Threads)"
    kill "$guard"
    wait "$guard" || true
    guard=
    rm -rf "$home"
done
