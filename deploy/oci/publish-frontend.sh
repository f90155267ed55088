#!/usr/bin/env bash
# Puts the built storefront into a bucket that everybody may read. What is there already is left alone.
#
# Each file gets the Cache-Control that it needs:
#   assets/*                  a year, immutable: their names change with their content
#   index.html, config.json   no-cache: looked at again on every visit, or a release would not be seen
#   everything else           --max-age seconds
# index.html comes last, so that it never names a file that is not there yet. Files of earlier releases stay, for pages that
# are open.
#
# --compartment-id OCID   of the bucket; or the variable OCI_COMPARTMENT_ID
# --bucket NAME           bharatmart-frontend
# --dist FOLDER           the output of `npm run build`: frontend/dist
# --api-url ORIGIN        where the API is, such as https://api.shop.example, which goes into config.json; without it, config.json is
#                         that of --dist at first, for an API with the same host name as the pages, and is then left as it is
# --region NAME           where the bucket is, such as ap-mumbai-1; or the variable OCI_CLI_REGION
# --max-age SECONDS       86400
# --dry-run               only shows what would be changed
#
# Prints the address of the bucket's objects, which is the origin for a CDN.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [bucket]=bharatmart-frontend [dist]=frontend/dist [max-age]=86400
    [api-url]='' [region]=${OCI_CLI_REGION:-})
read_options "$@"
check_compartment
check_name bucket
need region
check region '[a-z]+-[a-z]+-[0-9]+' 'a region such as ap-mumbai-1'
check api-url 'https?://[A-Za-z0-9.-]+(:[0-9]+)?' 'an origin such as https://api.shop.example'
check_number max-age 0 31536000
need_program oci jq openssl
export OCI_CLI_REGION=${option[region]}
dist=${option[dist]%/} bucket=${option[bucket]}
[[ -f $dist/index.html ]] || misuse "--dist is \`$dist\`, where there is no index.html; expected: the output of \`npm run build\`"

content_type() {
    case $1 in
        *.css) echo 'text/css; charset=utf-8' ;;
        *.html) echo 'text/html; charset=utf-8' ;;
        *.ico) echo image/x-icon ;;
        *.js) echo 'text/javascript; charset=utf-8' ;;
        *.json) echo application/json ;;
        *.png) echo image/png ;;
        *.svg) echo image/svg+xml ;;
        *.txt) echo 'text/plain; charset=utf-8' ;;
        *.webmanifest) echo application/manifest+json ;;
        *.webp) echo image/webp ;;
        *.woff2) echo font/woff2 ;;
        *) fail "it is not known what type $1 has" ;;
    esac
}

cache_control() {
    case $1 in
        index.html | config.json) echo no-cache ;;
        *) echo "public, max-age=${option[max-age]}" ;;
    esac
}

# The names and MD5 sums of what is in the bucket, one `sum name` in each line.
stored=''
namespace=$(oci os ns get --query data --raw-output)
if [[ -n $(find_named "$bucket" oci os bucket list --compartment-id "${option[compartment-id]}") ]]; then
    stored=$(oci os object list --bucket-name "$bucket" --all --fields name,md5 | jq --raw-output '.data[]? | "\(.md5) \(.name)"')
else
    change oci os bucket create --compartment-id "${option[compartment-id]}" --name "$bucket" \
        --public-access-type ObjectReadWithoutList >/dev/null
fi

config=''
if [[ -n ${option[api-url]} ]]; then
    config=$(mktemp)
    trap 'rm --force "$config"' EXIT
    json --arg url "${option[api-url]}" '{apiUrl: $url}' >"$config"
fi

put() {
    local name=$1 file=$dist/$1 sum type
    if [[ $name == config.json ]]; then
        [[ -n $config ]] || ! grep --quiet ' config\.json$' <<<"$stored" || return 0
        file=${config:-$file}
    fi
    sum=$(openssl dgst -md5 -binary "$file" | base64)
    if grep --quiet --line-regexp --fixed-strings "$sum $name" <<<"$stored"; then
        return
    fi
    type=$(content_type "$name")
    change oci os object put --bucket-name "$bucket" --name "$name" --file "$file" --force \
        --content-type "$type" --cache-control "$(cache_control "$name")" --no-multipart >/dev/null
    say "$name"
}

# The names have the content's hash in them: what is there is right. Compressed copies are nginx's; a CDN makes its own.
new_assets() {
    local path name
    for path in "$dist"/assets/*; do
        name=assets/${path##*/}
        [[ $name == *.gz || $name == *.br ]] || grep --quiet " $name\$" <<<"$stored" || echo "${path##*/}"
    done
}

mapfile -t assets < <(new_assets)
declare -A by_type=()
for name in "${assets[@]}"; do
    type=$(content_type "$name")
    by_type[$type]+=$name$'\n'
done
for type in "${!by_type[@]}"; do
    mapfile -t names <<<"${by_type[$type]%$'\n'}"
    includes=()
    for name in "${names[@]}"; do
        includes+=(--include "$name")
    done
    change oci os object bulk-upload --bucket-name "$bucket" --src-dir "$dist/assets" --prefix assets/ --no-overwrite \
        --content-type "$type" --cache-control 'public, max-age=31536000, immutable' --no-multipart "${includes[@]}" >/dev/null
done
say "${#assets[@]} new files in assets/"

while read -r path; do
    put "${path#"$dist"/}"
done < <(find "$dist" -type f -not -path "$dist/assets/*" -not -path "$dist/.*" -not -name '*.gz' -not -name '*.br' -not -name index.html | sort)
put index.html

say "Origin for a CDN, whose default page and page for unknown paths is index.html:"
echo "https://objectstorage.${option[region]}.oraclecloud.com/n/$namespace/b/$bucket/o"
