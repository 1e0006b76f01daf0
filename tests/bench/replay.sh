#!/bin/sh
# How fast recorded events are judged, beside jq and beside the reference implementation of EQL.
#
#     tests/bench/replay.sh [EVENTS [DIRECTORY]]
#
# makes EVENTS (10000000) events of the Elastic Common Schema, some 500 bytes each, one of a thousand of a startup file, in
# DIRECTORY (target/bench), and prints a table. It needs jq and GNU time, and python3 with venv, into which eql is fetched.
set -eu

events=${1:-10000000}
cd "$(dirname "$0")/../.."
directory=${2:-target/bench}
few=100000 # for eql, which keeps all that it reads
mkdir -p "$directory"
records=$directory/records-$events.ndjson

if [ ! -e "$records" ]; then
    python3 tests/bench/events.py "$events" > "$records.new"
    mv "$records.new" "$records"
fi
head -n "$few" "$records" > "$directory/few.jsonl"
cp policy/elastic-pth-creation.toml "$directory/elastic.toml"
: > "$directory/default.toml"
chmod 644 "$directory"/*.toml
nice cargo build --release --quiet
[ -x "$directory/eql/bin/eql" ] || { python3 -m venv "$directory/eql" && "$directory/eql/bin/pip" install --quiet eql; }

# What the rule asks for, of each event by itself.
filter='select(.host.os.type == "linux" and (.event.action == "creation" or .event.action == "rename")
    and .file.extension == "pth" and (.file.path | test("^/(usr|usr/local)/lib/python[^/]*/(dist|site)-packages/|^/home/[^/]*/\\.local/lib/python|^/opt/[^/]*/lib/python")))'
query='any where event.action in ("creation", "rename") and file.extension == "pth"
    and wildcard(file.path, "/usr/local/lib/python*/*-packages/*", "/usr/lib/python*/*-packages/*",
        "/home/*/.local/lib/python*/site-packages/*", "/opt/*/lib/python*/site-packages/*")'

# measure NAME EVENTS COMMAND…: a row; the exit status 1 says that there are findings.
measure() {
    name=$1 count=$2
    shift 2
    /usr/bin/time -q -f '%e %U %S %M' -o "$directory/time" "$@" > "$directory/out" 2> "$directory/err" || [ $? = 1 ]
    read -r seconds user system peak < "$directory/time"
    awk -v name="$name" -v count="$count" -v seconds="$seconds" -v user="$user" -v kernel="$system" -v peak="$peak" \
        'BEGIN { printf "%-28s %10d %9.1f %9.1f %12.0f %9.1f\n", name, count, seconds, user + kernel, count / seconds, peak / 1024 }'
}

echo "$(wc -c < "$records") bytes, $(nproc) processors"
printf '%-28s %10s %9s %9s %12s %9s\n' program events seconds 'CPU s' events/s 'MiB peak'
pthguard=target/release/pthguard
measure 'cat' "$events" cat "$records"
measure 'pthguard, built-in policy' "$events" $pthguard replay --config "$directory/default.toml" --json "$records"
measure "pthguard, Elastic's rule" "$events" $pthguard replay --config "$directory/elastic.toml" --json "$records"
measure 'jq' "$events" jq -c "$filter" "$records"
measure 'eql query' "$few" "$directory/eql/bin/eql" query -f "$directory/few.jsonl" "$query"
