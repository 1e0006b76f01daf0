#!/bin/bash
# Builds the packages:
#
#   packaging/build.sh [--target TRIPLE] [--binary FILE] [--revision N] [--output DIR] [deb] [rpm]
#
# Both if none is named, from the release profile, to target/packages if no other directory is named. `--target
# x86_64-unknown-linux-musl` makes a static program that needs no library; `--binary` packages one that is there already.
# Needs binutils; cargo-deb for the .deb; cargo-generate-rpm and rpm (which knows what a program requires) for the .rpm.
set -euo pipefail
cd "$(dirname "$0")/.."

target='' binary='' revision=1 output=target/packages
kinds=()
while [ $# -gt 0 ]; do
    case $1 in
        --target) target=$2; shift 2 ;;
        --binary) binary=$2; shift 2 ;;
        --revision) revision=$2; shift 2 ;;
        --output) output=$2; shift 2 ;;
        deb | rpm) kinds+=("$1"); shift ;;
        *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
    esac
done
[ ${#kinds[@]} -gt 0 ] || kinds=(deb rpm)

# The same sources make the same package: the pages bear the day of the last change.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
fi
export SOURCE_DATE_EPOCH

if [ -z "$binary" ]; then
    cargo build --locked --release ${target:+--target "$target"}
    binary=${CARGO_TARGET_DIR:-target}/${target:+$target/}release/pthguard
fi

# What the metadata in Cargo.toml names lies here, as it is installed.
stage=target/packaging
rm -rf "$stage"
mkdir -p "$stage/man" "$stage/selinux" "$output"
install -m 755 "$binary" "$stage/pthguard"
strip --strip-all "$stage/pthguard"
cargo build --locked --quiet --example manual
"${CARGO_TARGET_DIR:-target}/debug/examples/manual" "$stage/manual"
cp "$stage"/manual/*.8 docs/man/pthguard.toml.5 "$stage/man"
gzip -9n "$stage"/man/*
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
# What is linked into the program, under which licence.
cargo tree --locked --edges normal --prefix none --format '{p} {l} {r}' ${target:+--target "$target"} |
    sed 's/ (\*)$//; s/ (proc-macro)//; s| (/[^)]*)||' | sort -u >"$stage/crates"

for kind in "${kinds[@]}"; do
    case $kind in
        deb)
            cargo deb --no-build --locked --no-strip ${target:+--target "$target"} --deb-revision "$revision" --output "$output/"
            ;;
        rpm)
            without=()
            if [ -e /usr/share/selinux/devel/Makefile ] && [ -e selinux/pthguard.te ]; then
                cp selinux/pthguard.{te,fc,if} "$stage/selinux"
                make -s -C "$stage/selinux" -f /usr/share/selinux/devel/Makefile pthguard.pp
            else
                echo "build.sh: no /usr/share/selinux/devel/Makefile: the .rpm comes without the SELinux module" >&2
                sed -n '/^\[package.metadata.generate-rpm\]/,$ { /^assets = \[/,/^\]/p }' Cargo.toml |
                    grep -v selinux >"$stage/assets.toml"
                without=(--metadata-overwrite "$stage/assets.toml")
            fi
            cargo generate-rpm ${target:+--target "$target"} --set-metadata "release = \"$revision\"" \
                "${without[@]}" --output "$output/"
            ;;
    esac
done
ls -l "$output"
