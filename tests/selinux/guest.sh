#!/bin/bash
# What happens inside the virtual machine: a service, as the administrator's shell (unconfined_t), when the system is up.
# Says what came out as lines `NAME=VALUE` on the second serial line, then switches the machine off. /etc/pthguard-probe
# says how much of it is asked for: `all`, or `planting` alone.
exec >/dev/ttyS1 2>/dev/console
set -u

wanted=$(</etc/pthguard-probe)
site=/usr/lib/python3/dist-packages
home=/home/alice/.local/lib/python3.11/site-packages
canary='import sys; sys.stderr.write("CANARY\n")'

say() { printf '%s=%s\n' "$1" "$2"; }
# Waits until a command succeeds, at most this many seconds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}
# What an interpreter prints at its start, as root and as alice: CANARY, GOOD, PACKAGED.
start() { "$@" /usr/bin/python3 -c pass 2>&1 | tr '\n' ' ' | sed 's/ $//'; }
as_alice() { setpriv --reuid=1000 --regid=1000 --clear-groups env HOME=/home/alice "$@"; }
gone() { ! [ -e "$1" ] && ! [ -L "$1" ]; }
# What SELinux has refused to the daemon, or to what it asks.
refused() { dmesg | grep 'avc:  *denied' | grep 'scontext=[^ ]*:pthguard'; }
finish() {
    refused | sort -u | sed 's/^/# /'
    echo '# --- to others'
    dmesg | grep 'avc:  *denied' | grep -v 'scontext=[^ ]*:pthguard' | tail -20 | sed 's/^/# /'
    echo '# --- the daemon'
    journalctl -b -u pthguard --no-pager | tail -60 | sed 's/^/# /'
    say finished yes
    sync
    systemctl poweroff -ff
    exit
}
yes_or_no() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }

say enforce "$(getenforce)"
say own_domain "$(tr -d '\0' </proc/self/attr/current)"
within 120 systemctl is-active --quiet pthguard
say active "$(systemctl is-active pthguard)"
if [ "$wanted" = planting ]; then
    say planted_by_shell "$(yes_or_no bash -c "echo '$canary' >$site/planted.pth")"
    say start_after_planting "$(start env)"
    say lacks_watch_with_perm "$(yes_or_no sh -c "dmesg | grep 'denied *{[^}]*watch_with_perm' | grep -q :pthguard_t:")"
    finish
fi

pid=$(systemctl show -P MainPID pthguard)
say daemon_domain "$(tr -d '\0' <"/proc/$pid/attr/current")"
say state_label "$(stat -c %C /var/lib/pthguard)"
say quarantine_label "$(stat -c %C /var/lib/pthguard/quarantine)"
say socket_label "$(stat -c %C /var/lib/pthguard/control)"
say log_label "$(stat -c %C /var/log/pthguard/events.ndjson)"
say start_before "$(start env)"

# The tool stays in the domain of whoever runs it.
mkfifo /run/records
pthguard replay /run/records >/dev/null &
tool=$!
exec 3>/run/records
say tool_domain "$(tr -d '\0' <"/proc/$tool/attr/current")"
exec 3>&-
wait "$tool"
say tool_reaches_daemon "$(yes_or_no pthguard approvals)"

# A process that no rule names.
say planted_by_shell "$(yes_or_no bash -c "echo '$canary' >$site/planted.pth")"
say start_after_planting "$(start env)"

# What comes by rename is taken away; by another interpreter's start it must not have run.
echo "$canary" >"$site/renamed.txt"
mv "$site/renamed.txt" "$site/renamed.pth"
say start_after_rename "$(start env)"
within 20 gone "$site/renamed.pth"
say renamed_is_gone "$(yes_or_no gone "$site/renamed.pth")"
say renamed_is_kept "$(yes_or_no sh -c 'pthguard quarantine list | grep -q renamed.pth')"
ln -s /srv/elsewhere.pth "$site/link.pth"
within 20 gone "$site/link.pth"
say link_is_gone "$(yes_or_no gone "$site/link.pth")"
mkfifo "$site/fifo.pth"
within 20 gone "$site/fifo.pth"
say fifo_is_gone "$(yes_or_no gone "$site/fifo.pth")"

# An approved file comes back.
before=$(sha256sum <"$site/good.pth")
echo "$canary" >"$site/other.txt"
mv "$site/other.txt" "$site/good.pth"
is_back() { [ "$(sha256sum <"$site/good.pth")" = "$before" ]; }
within 20 is_back
say good_is_back "$(yes_or_no is_back)"
say good_label "$(stat -c %C "$site/good.pth")"
say start_after_replacing "$(start env)"

# The same in a user's directory, by the user.
echo "$canary" | as_alice tee "$home/mine.txt" >/dev/null
as_alice mv "$home/mine.txt" "$home/mine.pth"
within 20 gone "$home/mine.pth"
say home_is_gone "$(yes_or_no gone "$home/mine.pth")"
say start_as_alice "$(start as_alice)"

# dpkg may write; whose the file is, dpkg-query tells the daemon.
dpkg -i /root/pthguard-probe.deb >/dev/console 2>&1
say dpkg_status $?
within 60 sh -c "pthguard approvals | grep -q packaged.pth"
say start_after_dpkg "$(start env)"

# Again, with the state of before. What came while nobody looked is judged by whose it is, which dpkg-query tells.
systemctl stop pthguard
dpkg -i /root/python3-setuptools.deb >/dev/console 2>&1
systemctl start pthguard
say restarted "$(systemctl is-active pthguard)"
say restarted_domain "$(tr -d '\0' <"/proc/$(systemctl show -P MainPID pthguard)/attr/current")"
is_known() { pthguard approvals --json | grep -q distutils-precedence; }
within 60 is_known
say found_is_known "$(yes_or_no is_known)"
say start_after_restart "$(start env SETUPTOOLS_USE_DISTUTILS=stdlib)"

# Killed, it comes back by itself, with what systemd has kept for it.
killed=$(systemctl show -P MainPID pthguard)
kill -KILL "$killed"
is_another() { [ "$(systemctl show -P MainPID pthguard)" -gt 0 ] && [ "$(systemctl show -P MainPID pthguard)" != "$killed" ]; }
within 60 is_another
within 120 systemctl is-active --quiet pthguard
say start_after_kill "$(start env SETUPTOOLS_USE_DISTUTILS=stdlib)"
say planted_after_kill "$(yes_or_no bash -c "echo '$canary' >$site/again.pth")"
say domain_after_kill "$(tr -d '\0' <"/proc/$(systemctl show -P MainPID pthguard)/attr/current")"

# What is mounted is guarded, with the label that a memory file system gives to everything. The copy of the mount that another
# service makes for it takes longer here than the daemon waits for it.
mkdir -p /srv/disk
mount -t tmpfs none /srv/disk
mkdir -p /srv/disk/lib/python3.11/site-packages
is_guarded() { journalctl -b -u pthguard | grep -q 'site-guarded /srv/disk/'; }
within 60 is_guarded
say mounted_is_guarded "$(yes_or_no is_guarded)"
say copies_of_mounts "$(journalctl -b -u 'pthguard-mounts@*' | grep -c 'Deactivated successfully')"

# The search of the disks asks the interpreters at its end.
was_asked() { dmesg | grep 'avc:  *granted' | grep -F pthguard_query_t | grep -q "$1"; }
within 120 was_asked python3
say asked_python "$(yes_or_no was_asked python3)"
say asked_dpkg "$(yes_or_no was_asked dpkg-query)"
say denials "$(refused | wc -l)"
finish
