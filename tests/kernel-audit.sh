#!/bin/bash
# What the kernel's audit records say of denials (log.kernel_audit), in a virtual machine: auditing is a matter of the whole
# machine, and once it was on it stays in the way of every system call.
#
#     tests/kernel-audit.sh linux-image-6.12.113+deb12-cloud-amd64-unsigned
#
# Takes the kernel, auditctl and a static shell from Debian's archive and the guard from target/debug. Needs qemu-system-x86.
set -euo pipefail
kernel=${1:?a Debian package with a kernel}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

apt-get download -qq "$kernel" auditd libaudit1 libauparse0 busybox-static 2>/dev/null
for package in *.deb; do dpkg-deb -x "$package" from; done

mkdir -p root/{bin,sbin,lib/x86_64-linux-gnu,lib64,proc,sys,dev,srv,etc}
cp from/bin/busybox root/bin/
for tool in sh mount cat sleep mkdir dmesg grep sed kill poweroff; do ln -s busybox "root/bin/$tool"; done
cp from/sbin/auditctl root/sbin/
cp from/lib/x86_64-linux-gnu/lib*.so.* /lib/x86_64-linux-gnu/{libc.so.6,libgcc_s.so.1,libcap-ng.so.0} root/lib/x86_64-linux-gnu/
cp /lib64/ld-linux-x86-64.so.2 root/lib64/
strip -o root/bin/pthguard "$here/target/debug/pthguard"

cat >root/etc/policy.toml <<'END'
include_default = false
mode = "enforce"
[protect]
sites = ["/srv/site-packages"]
discover = false
[failure]
budget_ms = 9000
[log]
syslog = false
json = "/srv/log/events.ndjson"
kernel_audit = true
[state]
dir = "/srv/state"
[[allow]]
name = "somebody else"
exe = ["/usr/bin/dpkg"]
access = ["write"]
content = "any"
[[deny]]
name = "no shells"
exe = ["/bin/busybox"]
access = ["write"]
END
chmod 600 root/etc/policy.toml

cat >root/init <<'END'
#!/bin/sh
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /srv
mkdir -p /srv/site-packages /srv/log
guard() {
    pthguard run --config /etc/policy.toml &
    until grep -qs site-guarded /srv/log/events.ndjson && [ -S /srv/state/control ]; do sleep 0.2; done
}
auditctl -a always,exit -F arch=b64 -S openat -F exit=-EPERM >/dev/null
echo "import early" >/srv/site-packages/early.pth
guard
(echo x >/srv/site-packages/evil.pth)           # denied by rule 2
kill $!; wait $!
echo "import late" >/srv/site-packages/late.pth
guard
cat /srv/site-packages/late.pth                 # denied by no rule
kill $!; wait $!
echo "kernel $(cat /proc/sys/kernel/osrelease):"
dmesg | grep type=1331 | sed 's/.*audit(/FANOTIFY (/'
poweroff -f
END
chmod +x root/init
(cd root && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) | gzip -1 >initrd.gz

timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 512 -nographic -no-reboot \
    -kernel from/boot/vmlinuz-* -initrd initrd.gz -append "console=ttyS0 panic=-1 quiet audit=1" | tee console
if [ "$(grep -c 'FANOTIFY .*resp=2' console)" != 2 ]; then
    echo "not one record for each denial" >&2
    exit 1
fi
