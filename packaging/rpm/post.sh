# As %systemd_post: what is enabled is for the distribution's presets to say; starting is for the administrator.
if [ "$1" -eq 1 ]; then
    if [ -x /usr/lib/systemd/systemd-update-helper ]; then
        /usr/lib/systemd/systemd-update-helper install-system-units pthguard.service || :
    elif [ -x /usr/bin/systemctl ]; then
        systemctl --no-reload preset pthguard.service >/dev/null 2>&1 || :
    fi
fi
# As %selinux_modules_install, where the package brings the module and the system has a policy.
module=/usr/share/selinux/packages/pthguard.pp
if [ -e "$module" ] && [ -x /usr/sbin/semodule ] && [ -e /etc/selinux/config ]; then
    if semodule -n -X 200 -i "$module" 2>/dev/null; then
        if /usr/sbin/selinuxenabled 2>/dev/null; then
            /usr/sbin/load_policy || :
            /usr/sbin/restorecon -R /usr/sbin/pthguard /usr/lib/systemd/system/pthguard.service /etc/pthguard \
                /var/lib/pthguard /var/log/pthguard /run/pthguard 2>/dev/null || :
        fi
    else
        echo "pthguard: $module does not fit this system's SELinux policy; the guard runs without a domain of its own" >&2
    fi
fi
