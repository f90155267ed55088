#!/usr/bin/env bash
# Makes the instance configuration of one layer: shape, image, network, and the script that installs a release at the first boot.
# Configurations cannot be changed, so the name ends in a hash of the content: the same content is the same configuration.
#
# --role ROLE               frontend, api or worker
# --worker-type TYPE        of a worker: email, order, payment or all
# --compartment-id OCID     or the variable OCI_COMPARTMENT_ID
# --image-id OCID           Oracle Linux 9, or Ubuntu 22.04 or newer
# --subnet-id OCID          private: instances are reached through the load balancer
# --nsg-ids OCIDS           network security groups, separated by commas
# --release FILE            the name of the archive, as publish-release.sh put it there
# --release-sha256 SUM      as publish-release.sh printed it
# --bucket NAME             bharatmart-releases
# --settings-secret-id OCID as store-settings.sh printed it; the frontend needs none
# --shape NAME              VM.Standard.E4.Flex
# --ocpus NUMBER            of a flexible shape: 1
# --memory-gb NUMBER        of a flexible shape: 8
# --ssh-public-key FILE     who may log in; nobody without it
# --capacity-reservation-id OCID   launch from capacity that is reserved
# --dry-run                 only shows what would be changed
#
# Prints the OCID of the configuration.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([role]='' [worker-type]='' [compartment-id]=${OCI_COMPARTMENT_ID:-} [image-id]='' [subnet-id]='' [nsg-ids]=''
    [release]='' [release-sha256]='' [bucket]=bharatmart-releases [settings-secret-id]='' [shape]=VM.Standard.E4.Flex
    [ocpus]=1 [memory-gb]=8 [ssh-public-key]='' [capacity-reservation-id]='')
read_options "$@"
check_compartment
need role image-id subnet-id release release-sha256
check role 'frontend|api|worker' 'frontend, api or worker'
[[ ${option[role]} != worker ]] || need worker-type
[[ ${option[role]} == worker || -z ${option[worker-type]} ]] || misuse "--worker-type is for --role worker"
[[ ${option[role]} == frontend ]] || need settings-secret-id
check worker-type 'email|order|payment|all' 'email, order, payment or all'
check_ocid image-id image
check_ocid subnet-id subnet
check_ocids nsg-ids networksecuritygroup
check_ocid settings-secret-id vaultsecret
check_ocid capacity-reservation-id capacityreservation
check release '[A-Za-z0-9._-]+\.tar\.gz' 'the name of a .tar.gz'
check release-sha256 '[0-9a-f]{64}' '64 hexadecimal digits'
check_name bucket
check shape '(VM|BM)\.[A-Za-z0-9.]+' 'a shape such as VM.Standard.E4.Flex'
check_number ocpus 1 128
check_number memory-gb 1 2048
[[ -z ${option[ssh-public-key]} || -f ${option[ssh-public-key]} ]] || misuse "--ssh-public-key is \`${option[ssh-public-key]}\`, which is no file"
need_program oci jq sha256sum

# All values have been checked for what a shell could misunderstand.
first_boot() {
    sed -e "s|\${role}|${option[role]}|" \
        -e "s|\${worker_type}|${option[worker-type]}|" \
        -e "s|\${release_bucket}|${option[bucket]}|" \
        -e "s|\${release}|${option[release]}|" \
        -e "s|\${release_sha256}|${option[release-sha256]}|" \
        -e "s|\${settings_secret_id}|${option[settings-secret-id]}|" \
        "$here/cloud-init/first-boot.sh"
}

name=bharatmart-${option[role]}${option[worker-type]:+-${option[worker-type]}}
details=$(json --arg name "$name" --arg compartment "${option[compartment-id]}" --arg image "${option[image-id]}" \
    --arg subnet "${option[subnet-id]}" --argjson groups "$(json_list "${option[nsg-ids]}")" \
    --arg shape "${option[shape]}" --argjson ocpus "${option[ocpus]}" --argjson memory "${option[memory-gb]}" \
    --arg key "$([[ -z ${option[ssh-public-key]} ]] || cat "${option[ssh-public-key]}")" \
    --arg reservation "${option[capacity-reservation-id]}" --arg script "$(first_boot | base64 --wrap 0)" '{
        instanceType: "compute",
        launchDetails: ({
            compartmentId: $compartment,
            displayName: $name,
            shape: $shape,
            sourceDetails: {sourceType: "image", imageId: $image},
            createVnicDetails: {subnetId: $subnet, assignPublicIp: false, nsgIds: $groups},
            metadata: ({user_data: $script} + if $key == "" then {} else {ssh_authorized_keys: $key} end),
            # Autoscaling goes by what the agent measures.
            agentConfig: {isMonitoringDisabled: false, isManagementDisabled: false},
            instanceOptions: {areLegacyImdsEndpointsDisabled: true},
            freeformTags: {application: "bharatmart"}
        }
        + if $shape | endswith(".Flex") then {shapeConfig: {ocpus: $ocpus, memoryInGBs: $memory}} else {} end
        + if $reservation == "" then {} else {capacityReservationId: $reservation} end)
    }')
name=$name-$(sha256sum <<<"$details" | cut --characters 1-8)
found=$(find_named "$name" oci compute-management instance-configuration list --compartment-id "${option[compartment-id]}")
if [[ -n $found ]]; then
    jq --raw-output .id <<<"$found"
else
    create oci compute-management instance-configuration create --compartment-id "${option[compartment-id]}" \
        --display-name "$name" --instance-details "$details"
fi
