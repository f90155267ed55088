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

# import FOLDER IMAGE [VARIABLE=VALUE…]
import() {
    folder=$1
    image=$2
    shift 2
    for setting; do
        set -- "$@" --change "ENV $setting"
        shift
    done
    tar -C "$folder" -c . | podman import --quiet "$@" - "$image"
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

# This machine's own compilers, without the machine: what they are made of is given to the steps that use them (--volume).
mkdir -p tools/cargo/bin tools/etc/alternatives tools/etc/ssl/certs tools/proc tools/root tools/rustup/toolchains tools/tmp \
    tools/usr tools/var/tmp
chmod 1777 tools/tmp tools/var/tmp
for folder in bin lib lib64 sbin; do
    ln -s "usr/$folder" "tools/$folder"
done
for program in cargo rustc; do
    ln -s rustup "tools/cargo/bin/$program"
done
echo 'root:x:0:0:root:/root:/bin/sh' >tools/etc/passwd
echo 'root:x:0:' >tools/etc/group
authorities=/etc/ssl/certs/ca-certificates.crt
cp -L "$authorities" "tools$authorities"
import tools docker.io/library/node:22.12.0-bookworm-slim "NODE_EXTRA_CA_CERTS=$authorities"
# Quickly compiled programs show as well what is compiled, and when.
import tools docker.io/library/rust:1.95.0-bookworm "SSL_CERT_FILE=$authorities" \
    CARGO_HOME=/cargo RUSTUP_HOME=/rustup PATH=/cargo/bin:/usr/bin:/bin \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
