#!/bin/bash
# Fetch a CPython that this Debian does not have: its packages of the development branch, unpacked into a root directory
# of their own and nowhere else. Prints that directory. The installed system is not touched: apt gets lists, a cache and
# sources of its own.
#
#     tests/debian-python.sh VERSION [DIRECTORY]     3.15, say; into `target/tmp/debian-python/VERSION` if not given
#
# What is there already is taken as it is. The mirror is the machine's own for Debian; what it delivers has to be signed
# with Debian's archive keys.
set -euo pipefail

version=$1
directory=${2:-$(cd "$(dirname "$0")/.." && pwd)/target/tmp/debian-python/$version}

fail() {
    echo "blocked: CPython $version of Debian's development branch: $*" >&2
    exit 1
}

# Several test binaries may ask at once; one of them fetches.
mkdir -p "$(dirname "$directory")"
exec 9>"$directory.lock"
flock 9
if [ -x "$directory/usr/bin/python$version" ]; then
    echo "$directory"
    exit 0
fi

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "no $keyring (package debian-archive-keyring)"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !found { print; found = 1 }')
[ -n "$mirror" ] || fail "none of apt's sources is a mirror of Debian"

# Beside the result, so that the last step is one rename: a directory that is there is complete.
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache,parts,download,root}
: >"$work/status"
echo "deb [signed-by=$keyring] $mirror sid main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "$work/parts";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -qq >&2 || fail "the lists of $mirror cannot be read"

# With an empty status file nothing counts as installed: apt names everything that the interpreter needs.
wanted=("python$version-minimal" "libpython$version-stdlib")
plan=$(apt-get install --simulate "${wanted[@]}") || fail "no ${wanted[*]}, or not all that they need"
mapfile -t packages < <(awk '/^Inst /{ print $2 }' <<<"$plan")
(cd "$work/download" && apt-get download -qq "${packages[@]}" >&2) || fail "cannot be downloaded"

# Debian's merged directories, which another package makes.
mkdir -p "$work"/root/usr/{bin,sbin,lib,lib64} "$work"/root/{proc,dev,tmp}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$work/root/$name"; done
for package in "$work"/download/*.deb; do dpkg-deb -x "$package" "$work/root"; done

chroot "$work/root" "/usr/bin/python$version" -c 'import ssl, zlib, ctypes, sqlite3' || fail "does not start"
rm -rf "$directory"
mv "$work/root" "$directory"
echo "$directory"
