# As %systemd_postun_with_restart: after an upgrade the new program takes over. The groups are kept meanwhile.
if [ "$1" -ge 1 ]; then
    if [ -x /usr/lib/systemd/systemd-update-helper ]; then
        /usr/lib/systemd/systemd-update-helper mark-restart-system-units pthguard.service || :
    elif [ -d /run/systemd/system ]; then
        systemctl daemon-reload >/dev/null 2>&1 || :
        systemctl try-restart pthguard.service >/dev/null 2>&1 || :
    fi
fi
if [ "$1" -eq 0 ]; then
    if [ -x /usr/sbin/semodule ] && [ -e /etc/selinux/config ]; then
        if semodule -n -X 200 -r pthguard >/dev/null 2>&1 && /usr/sbin/selinuxenabled 2>/dev/null; then
            /usr/sbin/load_policy || :
            /usr/sbin/restorecon -R /var/lib/pthguard /var/log/pthguard 2>/dev/null || :
        fi
    fi
    for directory in /etc/pthguard/pthguard.d /etc/pthguard /usr/share/licenses/pthguard \
        /usr/share/doc/pthguard/examples/drop-ins /usr/share/doc/pthguard/examples /usr/share/doc/pthguard; do
        [ ! -d "$directory" ] || rmdir --ignore-fail-on-non-empty "$directory" || :
    done
    # /var/lib/pthguard stays: approvals are decisions that somebody has made, and the quarantine holds users' files.
fi
