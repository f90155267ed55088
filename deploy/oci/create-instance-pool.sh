#!/usr/bin/env bash
# Makes the pool of instances of one layer and puts it behind the load balancer. A pool that is there keeps its size, which is
# autoscaling's affair; it gets the configuration that is given, which instances have that are started from now on.
#
# --name NAME                    such as bharatmart-api
# --configuration-id OCID        from create-instance-configuration.sh
# --compartment-id OCID          or the variable OCI_COMPARTMENT_ID
# --availability-domains NAMES   such as Uocm:AP-MUMBAI-1-AD-1, separated by commas; `oci iam availability-domain list` shows them
# --subnet-id OCID
# --size NUMBER                  to begin with: 2
# --load-balancer-id OCID        from create-load-balancer.sh; workers have none
# --backend-set NAME             api-backend-set (port 3000) or frontend-backend-set (port 80)
# --dry-run                      only shows what would be changed
#
# Prints the OCID of the pool.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([name]='' [configuration-id]='' [compartment-id]=${OCI_COMPARTMENT_ID:-} [availability-domains]='' [subnet-id]=''
    [size]=2 [load-balancer-id]='' [backend-set]='')
read_options "$@"
check_compartment
need name configuration-id availability-domains subnet-id
check_name name
check_ocid configuration-id instanceconfiguration
check_ocid subnet-id subnet
check_ocid load-balancer-id loadbalancer
check availability-domains '[A-Za-z0-9]+:[A-Z0-9-]+(,[A-Za-z0-9]+:[A-Z0-9-]+)*' 'names such as Uocm:AP-MUMBAI-1-AD-1, separated by commas'
check backend-set 'api-backend-set|frontend-backend-set' 'api-backend-set or frontend-backend-set'
check_number size 0 500
if [[ -n ${option[load-balancer-id]} ]]; then need backend-set; fi
if [[ -n ${option[backend-set]} ]]; then need load-balancer-id; fi
need_program oci jq

found=$(find_named "${option[name]}" oci compute-management instance-pool list --compartment-id "${option[compartment-id]}" \
    --display-name "${option[name]}")
if [[ -n $found ]]; then
    id=$(jq --raw-output .id <<<"$found")
    if [[ $(jq --raw-output '."instance-configuration-id"' <<<"$found") != "${option[configuration-id]}" ]]; then
        change oci compute-management instance-pool update --instance-pool-id "$id" \
            --instance-configuration-id "${option[configuration-id]}" --force >/dev/null
        say "instances that are running keep the configuration that they were started with"
    fi
    echo "$id"
    exit
fi

port=3000
[[ ${option[backend-set]} != frontend-backend-set ]] || port=80
placements=$(jq --compact-output --arg subnet "${option[subnet-id]}" \
    'map({availabilityDomain: ., primarySubnetId: $subnet})' <<<"$(json_list "${option[availability-domains]}")")
load_balancers=$(json --arg id "${option[load-balancer-id]}" --arg set "${option[backend-set]}" --argjson port "$port" \
    'if $id == "" then [] else [{loadBalancerId: $id, backendSetName: $set, port: $port, vnicSelection: "PrimaryVnic"}] end')
create oci compute-management instance-pool create --compartment-id "${option[compartment-id]}" --display-name "${option[name]}" \
    --instance-configuration-id "${option[configuration-id]}" --placement-configurations "$placements" \
    --size "${option[size]}" --load-balancers "$load_balancers"
