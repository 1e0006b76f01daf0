# As %systemd_preun: removed, not upgraded.
if [ "$1" -eq 0 ]; then
    if [ -x /usr/lib/systemd/systemd-update-helper ]; then
        /usr/lib/systemd/systemd-update-helper remove-system-units pthguard.service || :
    elif [ -x /usr/bin/systemctl ]; then
        systemctl --no-reload disable pthguard.service >/dev/null 2>&1 || :
        [ ! -d /run/systemd/system ] || systemctl stop pthguard.service >/dev/null 2>&1 || :
    fi
fi
