#!/bin/bash
# What cloud-init runs once on a new instance (Oracle Linux 9, Ubuntu 22.04 or newer): it installs a release of BharatMart and
# starts one layer of it. Its output is in /var/log/cloud-init-output.log. The values below are filled in by
# create-instance-configuration.sh or by Terraform; neither holds a secret, since everybody on the instance can read them.
set -euo pipefail

role='${role}'
worker_type='${worker_type}'
release_bucket='${release_bucket}'
release='${release}'
release_sha256='${release_sha256}'
settings_secret_id='${settings_secret_id}'

# The instance may do nothing until its membership in the dynamic group is known everywhere, which takes minutes.
retry() {
    local attempt
    for attempt in $(seq 60); do
        if "$@"; then
            return 0
        fi
        echo "attempt $attempt failed: $*" >&2
        sleep 10
    done
    return 1
}

install_packages() {
    if command -v dnf >/dev/null; then
        retry dnf --assumeyes install tar gzip python3-pip "$@"
    else
        export DEBIAN_FRONTEND=noninteractive
        retry apt-get update
        retry apt-get install --yes tar gzip python3-venv "$@"
    fi
}

# The images' own firewall lets nothing but SSH in.
open_port() {
    if command -v firewall-cmd >/dev/null; then
        firewall-cmd --permanent --add-port="$1/tcp"
        firewall-cmd --reload
    elif command -v iptables >/dev/null; then
        iptables --insert INPUT --protocol tcp --dport "$1" --jump ACCEPT
        if command -v netfilter-persistent >/dev/null; then
            netfilter-persistent save
        fi
    fi
}

as_instance() {
    /opt/oci-cli/bin/oci --auth instance_principal "$@"
}

fetch_release() {
    as_instance os object get --bucket-name "$release_bucket" --name "$release" --file "$1/release.tar.gz"
}

fetch_settings() {
    as_instance secrets secret-bundle get --secret-id "$settings_secret_id" \
        --query 'data."secret-bundle-content".content' --raw-output >"$1/settings.base64"
}

install_release() {
    local folder
    folder=$(mktemp --directory)
    retry fetch_release "$folder"
    echo "$release_sha256  $folder/release.tar.gz" | sha256sum --check
    mkdir "$folder/release"
    tar --extract --gzip --file "$folder/release.tar.gz" --directory "$folder/release" --strip-components 1
    "$folder/release/install.sh"
    if [ "$role" != frontend ]; then
        retry fetch_settings "$folder"
        base64 --decode "$folder/settings.base64" |
            install --group bharatmart --mode 0640 /dev/stdin /etc/bharatmart/bharatmart.env
    fi
    rm --recursive "$folder"
}

# /api goes to the API's instances in the load balancer, so this server is only asked for files.
serve_frontend() {
    rm --force /etc/nginx/sites-enabled/default
    cp /opt/bharatmart/nginx/bharatmart.conf /etc/nginx/conf.d/
    nginx -t
    systemctl enable nginx
    systemctl restart nginx
}

# start UNIT: after the migrations, which whoever comes first runs; the others wait for it and find nothing left to do.
start() {
    # It is there after a restart, whatever becomes of the first start.
    systemctl enable "$1"
    # The database may be new, too.
    retry systemctl start bharatmart-migrate
    systemctl start "$1"
}

install_packages
python3 -m venv /opt/oci-cli
retry /opt/oci-cli/bin/pip install --quiet oci-cli==3.95.1
case $role in
    frontend)
        install_packages nginx
        install_release
        serve_frontend
        open_port 80
        ;;
    api)
        install_release
        open_port 3000
        open_port 9090
        start bharatmart-api
        ;;
    worker)
        install_release
        open_port 9090
        start "bharatmart-worker@$worker_type"
        ;;
esac
