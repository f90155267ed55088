#!/usr/bin/env bash
# Reserves the capacity for a number of instances in one availability domain, for times when others want it as well.
# Reserved capacity that is not used is paid for at a lower rate; it is no discount on what runs.
#
# --compartment-id OCID        or the variable OCI_COMPARTMENT_ID
# --name NAME                  bharatmart
# --availability-domain NAME   such as Uocm:AP-MUMBAI-1-AD-1
# --count NUMBER               5
# --shape NAME                 VM.Standard.E4.Flex
# --ocpus NUMBER               of a flexible shape: 1
# --memory-gb NUMBER           of a flexible shape: 8
# --dry-run                    only shows what would be changed
#
# Prints the OCID of the reservation, for create-instance-configuration.sh.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [name]=bharatmart [availability-domain]='' [count]=5
    [shape]=VM.Standard.E4.Flex [ocpus]=1 [memory-gb]=8)
read_options "$@"
check_compartment
need availability-domain
check_name name
check availability-domain '[A-Za-z0-9]+:[A-Z0-9-]+' 'a name such as Uocm:AP-MUMBAI-1-AD-1'
check shape '(VM|BM)\.[A-Za-z0-9.]+' 'a shape such as VM.Standard.E4.Flex'
check_number count 1 1000
check_number ocpus 1 128
check_number memory-gb 1 2048
need_program oci jq
wanted=$(json --arg shape "${option[shape]}" --argjson count "${option[count]}" --argjson ocpus "${option[ocpus]}" --argjson memory "${option[memory-gb]}" '
    [{instanceShape: $shape, reservedCount: $count}
     + if $shape | endswith(".Flex") then {instanceShapeConfig: {ocpus: $ocpus, memoryInGBs: $memory}} else {} end]')
found=$(find_named "${option[name]}" oci compute capacity-reservation list --compartment-id "${option[compartment-id]}" --display-name "${option[name]}")
if [[ -z $found ]]; then
    create oci compute capacity-reservation create --compartment-id "${option[compartment-id]}" --display-name "${option[name]}" \
        --availability-domain "${option[availability-domain]}" --instance-reservation-configs "$wanted"
    exit
fi
id=$(jq --raw-output .id <<<"$found")
if ! oci compute capacity-reservation get --capacity-reservation-id "$id" | jq --exit-status --argjson wanted "$wanted" '
    [.data."instance-reservation-configs"[] | {instanceShape: ."instance-shape", reservedCount: ."reserved-count"}
     + (."instance-shape-config" // {} | if .ocpus == null then {} else {instanceShapeConfig: {ocpus, memoryInGBs: ."memory-in-gbs"}} end)]
    == $wanted' >/dev/null; then
    change oci compute capacity-reservation update --capacity-reservation-id "$id" --instance-reservation-configs "$wanted" --force >/dev/null
fi
echo "$id"
