#!/usr/bin/env bash
# Makes a managed PostgreSQL (OCI Database with PostgreSQL): a primary, and replicas that answer reads and take its place when it
# fails. A system that is there gets the processors and the memory that are asked for.
#
# --compartment-id OCID         or the variable OCI_COMPARTMENT_ID
# --name NAME                   bharatmart
# --subnet-id OCID              private
# --nsg-ids OCIDS               network security groups, separated by commas
# --availability-domain NAME    where the storage is; without it, it is spread over all of the region's
# --version NUMBER              14 to 16: 16
# --nodes NUMBER                the primary and its replicas: 2
# --shape NAME                  VM.Standard.E4.Flex
# --ocpus NUMBER                of each node: 2
# --memory-gb NUMBER            of each node: 32
# --user NAME                   bharatmart
# --password-secret-id OCID     a secret of OCI Vault that is the password
# --password-secret-version NUMBER   1
# --dry-run                     only shows what would be changed
#
# Prints the variables for the API and the workers.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [name]=bharatmart [subnet-id]='' [nsg-ids]='' [availability-domain]='' [version]=16
    [nodes]=2 [shape]=VM.Standard.E4.Flex [ocpus]=2 [memory-gb]=32 [user]=bharatmart [password-secret-id]='' [password-secret-version]=1)
read_options "$@"
check_compartment
need subnet-id password-secret-id
check_name name
check_ocid subnet-id subnet
check_ocids nsg-ids networksecuritygroup
check_ocid password-secret-id vaultsecret
check availability-domain '[A-Za-z0-9]+:[A-Z0-9-]+' 'a name such as Uocm:AP-MUMBAI-1-AD-1'
check shape 'VM\.[A-Za-z0-9.]+' 'a shape such as VM.Standard.E4.Flex'
check user '[a-z][a-z0-9_]{0,62}' 'lower-case letters, digits and underscores'
check_number version 14 16
check_number nodes 1 16
check_number ocpus 1 64
check_number memory-gb 16 1024
check_number password-secret-version 1 1000000
need_program oci jq

find_system() {
    find_named "${option[name]}" oci psql db-system-collection list-db-systems --compartment-id "${option[compartment-id]}" \
        --display-name "${option[name]}"
}

found=$(find_system)
if [[ -z $found ]]; then
    storage=$(json --arg domain "${option[availability-domain]}" '{systemType: "OCI_OPTIMIZED_STORAGE"}
        + if $domain == "" then {isRegionallyDurable: true} else {isRegionallyDurable: false, availabilityDomain: $domain} end')
    credentials=$(json --arg user "${option[user]}" --arg secret "${option[password-secret-id]}" --arg version "${option[password-secret-version]}" \
        '{username: $user, passwordDetails: {passwordType: "VAULT_SECRET", secretId: $secret, secretVersion: $version}}')
    network=$(json --arg subnet "${option[subnet-id]}" --argjson groups "$(json_list "${option[nsg-ids]}")" \
        '{subnetId: $subnet, nsgIds: $groups, isReaderEndpointEnabled: true}')
    change oci psql db-system create --compartment-id "${option[compartment-id]}" --display-name "${option[name]}" \
        --db-version "${option[version]}" --shape "${option[shape]}" --instance-ocpu-count "${option[ocpus]}" \
        --instance-memory-size-in-gbs "${option[memory-gb]}" --instance-count "${option[nodes]}" --storage-details "$storage" \
        --network-details "$network" --credentials "$credentials" --wait-for-state SUCCEEDED --max-wait-seconds 7200 >/dev/null
    ! $dry_run || exit 0
    found=$(find_system)
elif ! jq --exit-status --argjson ocpus "${option[ocpus]}" --argjson memory "${option[memory-gb]}" \
    '."instance-ocpu-count" == $ocpus and ."instance-memory-size-in-gbs" == $memory' <<<"$found" >/dev/null; then
    change oci psql db-system update --db-system-id "$(jq --raw-output .id <<<"$found")" --instance-ocpu-count "${option[ocpus]}" \
        --instance-memory-size-in-gbs "${option[memory-gb]}" --force --wait-for-state SUCCEEDED --max-wait-seconds 7200 >/dev/null
fi

oci psql connection-details get --db-system-id "$(jq --raw-output .id <<<"$found")" | jq --raw-output --arg user "${option[user]}" '.data
    | def url(host): "postgres://\($user):change-me@\(host.fqdn):\(host.port)/postgres";
    "DATABASE_URL='\''\(url(."primary-db-endpoint"))'\''",
    if ."reader-endpoint" then "DATABASE_READ_URL='\''\(url(."reader-endpoint"))'\''" else empty end,
    "DATABASE_SSL_MODE=require"'
