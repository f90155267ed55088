#!/usr/bin/env bash
# Puts a release archive into a private bucket, from which new instances install it. A release that is there stays as it is.
#
# --compartment-id OCID   of the bucket; or the variable OCI_COMPARTMENT_ID
# --bucket NAME           bharatmart-releases
# --archive FILE          the archive that `cargo xtask dist` makes
# --dry-run               only shows what would be changed
#
# Prints the archive's SHA-256, which create-instance-configuration.sh wants.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [bucket]=bharatmart-releases [archive]='')
read_options "$@"
check_compartment
check_name bucket
need archive
archive=${option[archive]} bucket=${option[bucket]} name=${option[archive]##*/}
[[ -f $archive && $name =~ ^[A-Za-z0-9._-]+\.tar\.gz$ ]] || misuse "--archive is \`$archive\`; expected: a file that ends in .tar.gz"
need_program oci jq openssl sha256sum

objects='{}'
if [[ -n $(find_named "$bucket" oci os bucket list --compartment-id "${option[compartment-id]}") ]]; then
    objects=$(oci os object list --bucket-name "$bucket" --prefix "$name" --all --fields name,md5)
else
    change oci os bucket create --compartment-id "${option[compartment-id]}" --name "$bucket" \
        --public-access-type NoPublicAccess >/dev/null
fi
stored=$(jq --raw-output --arg name "$name" '.data[]? | select(.name == $name) | .md5' <<<"$objects")
if [[ -z $stored ]]; then
    change oci os object put --bucket-name "$bucket" --name "$name" --file "$archive" --no-overwrite \
        --content-type application/gzip --no-multipart >/dev/null
elif [[ $stored != $(openssl dgst -md5 -binary "$archive" | base64) ]]; then
    fail "another $name is in $bucket; instances may be installing it, so a changed release needs a new name"
fi
sha256sum "$archive" | cut --delimiter ' ' --fields 1
