#!/usr/bin/env bash
# Makes a managed Redis (OCI Cache) for the cache or for the queues. One that is there gets the nodes and the memory that are asked
# for, without a stop.
#
# The cache may forget what it has not been asked for (allkeys-lru), the queues may not (noeviction, which is the service's default).
# The service keeps nothing on disk: the queues' safety is the second node, and the outbox in PostgreSQL for what is not queued yet.
#
# --for PURPOSE           cache or queue
# --compartment-id OCID   or the variable OCI_COMPARTMENT_ID
# --name NAME             bharatmart-redis-cache or bharatmart-redis-queue
# --subnet-id OCID        private
# --nsg-ids OCIDS         network security groups, separated by commas
# --nodes NUMBER          of each shard, the primary and its replicas: 2
# --memory-gb NUMBER      of each node: 2
# --shards NUMBER         3 or more make a Redis Cluster; 0, the default, makes none
# --dry-run               only shows what would be changed
#
# Prints the variables for the API and the workers.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
readonly VERSION=REDIS_7_0
option=([for]='' [compartment-id]=${OCI_COMPARTMENT_ID:-} [name]='' [subnet-id]='' [nsg-ids]='' [nodes]=2 [memory-gb]=2 [shards]=0)
read_options "$@"
check_compartment
need for subnet-id
check for 'cache|queue' 'cache or queue'
option[name]=${option[name]:-bharatmart-redis-${option[for]}}
check_name name
check_ocid subnet-id subnet
check_ocids nsg-ids networksecuritygroup
check_number nodes 1 5
check_number memory-gb 2 500
check_number shards 0 99
[[ ! ${option[shards]} =~ ^[12]$ ]] || misuse "--shards is ${option[shards]}; expected: 0, or 3 or more"
need_program oci jq
compartment=${option[compartment-id]} name=${option[name]}

find_cluster() {
    find_named "$name" oci redis redis-cluster redis-cluster-summary list-redis-clusters --compartment-id "$compartment" --display-name "$name"
}

# The OCID of the settings that let the cache forget.
forgetful() {
    local found
    found=$(find_named bharatmart-cache-lru oci redis oci-cache-config-set oci-cache-config-set-summary list-oci-cache-config-sets \
        --compartment-id "$compartment" --display-name bharatmart-cache-lru)
    if [[ -n $found ]]; then
        jq --raw-output .id <<<"$found"
        return
    fi
    change oci redis oci-cache-config-set oci-cache-config-set create --compartment-id "$compartment" \
        --display-name bharatmart-cache-lru --software-version "$VERSION" \
        --configuration-details '{"items": [{"configKey": "maxmemory-policy", "configValue": "allkeys-lru"}]}' \
        --wait-for-state SUCCEEDED >/dev/null
    if $dry_run; then
        echo "$NOT_CREATED"
    else
        forgetful
    fi
}

found=$(find_cluster)
if [[ -z $found ]]; then
    arguments=(--cluster-mode NONSHARDED)
    ((option[shards] == 0)) || arguments=(--cluster-mode SHARDED --shard-count "${option[shards]}")
    [[ ${option[for]} == queue ]] || arguments+=(--oci-cache-config-set-id "$(forgetful)")
    change oci redis redis-cluster redis-cluster create --compartment-id "$compartment" --display-name "$name" \
        --subnet-id "${option[subnet-id]}" --nsg-ids "$(json_list "${option[nsg-ids]}")" --node-count "${option[nodes]}" \
        --node-memory-in-gbs "${option[memory-gb]}" --software-version "$VERSION" "${arguments[@]}" \
        --wait-for-state SUCCEEDED --max-wait-seconds 3600 >/dev/null
    ! $dry_run || exit 0
    found=$(find_cluster)
elif ! jq --exit-status --argjson nodes "${option[nodes]}" --argjson memory "${option[memory-gb]}" \
    '."node-count" == $nodes and ."node-memory-in-gbs" == $memory' <<<"$found" >/dev/null; then
    change oci redis redis-cluster redis-cluster update --redis-cluster-id "$(jq --raw-output .id <<<"$found")" \
        --node-count "${option[nodes]}" --node-memory-in-gbs "${option[memory-gb]}" --force \
        --wait-for-state SUCCEEDED --max-wait-seconds 3600 >/dev/null
fi

jq --raw-output --arg for "${option[for]}" '
    ($for | ascii_upcase) as $area
    | if ."cluster-mode" == "SHARDED" then
        "\($area)_REDIS_CLUSTER_NODES=rediss://\(."discovery-fqdn"):6379",
        if $for == "cache" then "CACHE_TYPE=redis-cluster" else "QUEUE_PREFIX='\''{bull}'\''" end
      else
        "\($area)_REDIS_URL=rediss://\(."primary-fqdn"):6379"
      end' <<<"$found"
