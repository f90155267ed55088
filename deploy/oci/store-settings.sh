#!/usr/bin/env bash
# Keeps the settings of the API and the workers (an env file, with its passwords) as a secret in OCI Vault, where the instances
# read them at their first boot. Settings that have not changed make no new version.
#
# --compartment-id OCID   of the secret; or the variable OCI_COMPARTMENT_ID
# --vault-id OCID
# --key-id OCID           the vault's key that encrypts the secret
# --name NAME             bharatmart-settings
# --file FILE             such as a filled-in copy of config/samples/oci-instances.env
# --dry-run               only shows what would be changed
#
# Prints the OCID of the secret.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [vault-id]='' [key-id]='' [name]=bharatmart-settings [file]='')
read_options "$@"
check_compartment
need vault-id key-id file
check_ocid vault-id vault
check_ocid key-id key
check_name name
file=${option[file]}
[[ -f $file ]] || misuse "--file is \`$file\`, which is no file; expected: an env file"
if grep --quiet --extended-regexp '^[^#]*(change-me|replace-this)' "$file"; then
    fail "$file has values of the sample in it: change-me, replace-this"
fi
# The limit of OCI Vault for a secret.
(($(wc --bytes <"$file") <= 25600)) || fail "$file has more than 25,600 bytes"
need_program oci jq

# A secret cannot be compared with a file without reading it, which whoever writes it need not be allowed to.
sum=$(sha256sum "$file" | cut --delimiter ' ' --fields 1)
tags=$(json --arg sum "$sum" '{"settings-sha256": $sum}')
secret=$(find_named "${option[name]}" oci vault secret list --compartment-id "${option[compartment-id]}" --vault-id "${option[vault-id]}")
content=$(base64 --wrap 0 "$file")
# What --dry-run shows may be kept in a log.
! $dry_run || content='(the settings)'
if [[ -z $secret ]]; then
    create oci vault secret create-base64 --compartment-id "${option[compartment-id]}" --vault-id "${option[vault-id]}" \
        --key-id "${option[key-id]}" --secret-name "${option[name]}" --freeform-tags "$tags" \
        --secret-content-content "$content"
    exit
fi
id=$(jq --raw-output .id <<<"$secret")
if [[ $(jq --raw-output '."freeform-tags"."settings-sha256"' <<<"$secret") != "$sum" ]]; then
    change oci vault secret update-base64 --secret-id "$id" --freeform-tags "$tags" --secret-content-content "$content" \
        --force >/dev/null
    say "instances that run already read the new settings only when they are replaced"
fi
echo "$id"
