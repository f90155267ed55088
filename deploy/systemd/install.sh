#!/bin/sh
# Installs the release that this file lies in: programs, units and pages under /opt/bharatmart, the user and the group
# `bharatmart`, and the folder /etc/bharatmart for the settings. It starts and restarts nothing, and running it again, or that of a
# newer release, is how to upgrade.
set -eu
# nginx and the programs read what is installed, whatever root's own umask is.
umask 022

usage() {
    echo "usage: install.sh [--root FOLDER]"
    echo "  --root FOLDER  install below FOLDER, for an image of a machine that does not run; makes no user"
}

root=
case ${1-} in
    '') ;;
    --root)
        if [ $# -ne 2 ] || [ ! -d "$2" ]; then
            echo "install.sh: --root wants a folder that exists" >&2
            exit 64
        fi
        root=$2
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 64
        ;;
esac

here=$(cd -- "$(dirname -- "$0")" && pwd)
if [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: has to be run as root" >&2
    exit 77
fi
if ! (cd -- "$here" && sha256sum --check --quiet --strict SHA256SUMS); then
    echo "install.sh: this release is damaged; nothing was installed" >&2
    exit 65
fi
if ! "$here/bin/bharatmart-api" --version >/dev/null; then
    echo "install.sh: the programs do not run here ($(uname -m)); nothing was installed" >&2
    exit 69
fi

group=root
if [ -z "$root" ]; then
    group=bharatmart
    if ! getent group bharatmart >/dev/null; then
        groupadd --system bharatmart
    fi
    if ! getent passwd bharatmart >/dev/null; then
        useradd --system --gid bharatmart --home-dir /var/lib/bharatmart --no-create-home \
            --shell "$(command -v nologin || echo /usr/sbin/nologin)" bharatmart
    fi
fi

home=$root/opt/bharatmart
install -d -m 0755 "$home/bin" "$home/config/always-free" "$home/frontend" "$home/nginx" "$root/etc/systemd/system" "$root/etc/logrotate.d"
install -d -m 0750 -g "$group" "$root/etc/bharatmart"
# `install` puts a new file in the place of the old one, so that programs may go on running.
install -m 0755 "$here/bin/bharatmart-api" "$here/bin/bharatmart-worker" "$home/bin"
install -m 0644 "$here"/systemd/*.service "$root/etc/systemd/system"
install -m 0644 "$here/systemd/bharatmart.logrotate" "$root/etc/logrotate.d/bharatmart"
install -m 0644 "$here"/nginx/*.conf "$home/nginx"
cp -R "$here/config/." "$home/config"
install -m 0644 "$here"/systemd/always-free/*.conf "$home/config/always-free"
# Parts first, then the page that names them. Those of earlier releases stay for the pages that are open.
if [ -d "$here/frontend/assets" ]; then
    cp -R "$here/frontend/assets" "$home/frontend"
fi
# Where the API is was decided here, not by the release.
kept=
if [ -e "$home/frontend/config.json" ]; then
    kept=$(cat "$home/frontend/config.json")
fi
cp -R "$here/frontend/." "$home/frontend"
if [ -n "$kept" ]; then
    printf '%s\n' "$kept" >"$home/frontend/config.json"
fi
chown -R root:root "$home"

# Where there is SELinux, systemd runs only what is labelled as a program.
if [ -z "$root" ] && command -v restorecon >/dev/null; then
    restorecon -R "$home" /etc/bharatmart /etc/systemd/system
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

version=$("$home/bin/bharatmart-api" --version)
echo "$version is in /opt/bharatmart; nothing was started."
if [ ! -e "$root/etc/bharatmart/bharatmart.env" ]; then
    echo "Next: install -m 0640 -g bharatmart $home/config/samples/single-vm.env /etc/bharatmart/bharatmart.env, and fill it in."
fi
