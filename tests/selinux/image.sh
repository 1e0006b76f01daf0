#!/bin/bash
# What the virtual machine is made of, fetched once: a small Debian with systemd and Python in `root`, and the kernel of
# Debian's cloud images in `vmlinuz`, which needs no initial file system. Prints the directory.
#
#     tests/selinux/image.sh DIRECTORY
set -euo pipefail

directory=$1
fail() {
    echo "blocked: the virtual machine's system: $*" >&2
    exit 1
}

if [ -e "$directory/complete" ]; then
    echo "$directory"
    exit 0
fi
command -v debootstrap >/dev/null || fail "no debootstrap"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !found { print; found = 1 }')
[ -n "$mirror" ] || fail "none of apt's sources is a mirror of Debian"

rm -rf "$directory"
mkdir -p "$directory/kernel"
debootstrap --variant=minbase --include=systemd,systemd-sysv,python3-minimal,selinux-utils,procps \
    bookworm "$directory/root" "$mirror" >&2 || fail "debootstrap, see $directory/root/debootstrap"
# Packages, their lists and manuals are not needed and would be labelled and copied each time.
rm -rf "$directory"/root/var/cache/apt/* "$directory"/root/var/lib/apt/lists/* "$directory"/root/usr/share/{doc,man,locale}/*

kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ && !found { print $2; found = 1 }')
[ -n "$kernel" ] || fail "apt knows no linux-image-cloud-amd64"
(cd "$directory/kernel" && apt-get download -qq "$kernel" >&2) || fail "$kernel cannot be downloaded"
dpkg-deb --fsys-tarfile "$directory"/kernel/*.deb | tar -xC "$directory/kernel" ./boot
mv "$directory"/kernel/boot/vmlinuz-* "$directory/vmlinuz"
rm -r "$directory/kernel"
touch "$directory/complete"
echo "$directory"
