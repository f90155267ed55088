#!/bin/sh
# Makes images under the names of those that our Dockerfiles stand on, out of packages of this machine's Debian, for where no
# registry can be reached. They show that the steps of the Dockerfiles work, not what the true bases hold.
#
#   base-images.sh FOLDER   (a folder to work in)
set -eu
cd "$1"

unpack() {
    target=$PWD/$1
    shift
    mkdir -p "$target" packages
    (
        cd packages
        apt-get download --quiet=2 "$@"
        for package in "$@"; do
            dpkg-deb --extract "$package"_*.deb "$target"
        done
    )
}

import() {
    tar -C "$1" -c . | podman import --quiet - "$2"
}

unpack distroless base-files ca-certificates libc6 libgcc-s1 netbase tzdata
import distroless gcr.io/distroless/cc-debian12:nonroot

unpack nginx base-files busybox-static libc6 libcrypt1 libpcre2-8-0 libssl3 netbase nginx nginx-common zlib1g
for applet in cp grep ln mkdir printf sed sh sleep wget; do
    ln -sf busybox "nginx/bin/$applet"
done
mkdir -p nginx/tmp nginx/var/log/nginx nginx/var/lib/nginx
chmod 1777 nginx/tmp
import nginx docker.io/library/nginx:1.28.0-alpine-slim

# What is compiled comes from outside; these only have to be there.
mkdir -p empty/etc
import empty docker.io/library/rust:1.95.0-bookworm
import empty docker.io/library/node:22.12.0-bookworm-slim
