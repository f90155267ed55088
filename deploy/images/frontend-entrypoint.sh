#!/bin/sh
# Puts what differs from place to place into nginx's configuration and the storefront's, and becomes nginx.
#
#   API_UPSTREAM  where nginx finds the API, host:port (127.0.0.1:3000)
#   API_URL       where browsers find it, such as https://api.shop.example; empty when behind /api of this server
set -eu

upstream=${API_UPSTREAM:-127.0.0.1:3000}
url=${API_URL:-}
# What is matched goes into configuration files: nothing but names, numbers and dots.
printf '%s\n' "$upstream" | grep -Eqx '[A-Za-z0-9._-]+:[0-9]{1,5}' || {
    echo "API_UPSTREAM is '$upstream'; it has to be host:port, such as api:3000" >&2
    exit 64
}
[ -z "$url" ] || printf '%s\n' "$url" | grep -Eqx 'https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?' || {
    echo "API_URL is '$url'; it has to be an origin, such as https://api.shop.example, or empty" >&2
    exit 64
}

folder=/tmp/bharatmart
mkdir -p "$folder/conf.d"
cp /etc/bharatmart/nginx.conf "$folder/nginx.conf"
sed -e "s|server 127.0.0.1:3000;|server $upstream;|" \
    -e 's|listen 80 |listen 8080 |' \
    -e 's|listen \[::\]:80 |listen [::]:8080 |' \
    -e "s|set \$bharatmart_api_origin \"\";|set \$bharatmart_api_origin \"$url\";|" \
    /etc/bharatmart/bharatmart.conf >"$folder/conf.d/bharatmart.conf"
# A machine may have no IPv6 at all, where nginx would not start.
[ -e /proc/net/if_inet6 ] || sed -i '/listen \[::\]/d' "$folder/conf.d/bharatmart.conf"
printf '{"apiUrl":"%s"}\n' "$url" >"$folder/config.json"

exec nginx -c "$folder/nginx.conf" -e stderr -g 'daemon off;'
