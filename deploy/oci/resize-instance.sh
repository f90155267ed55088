#!/usr/bin/env bash
# Gives an instance another shape, or a flexible one more processors or memory. A running instance is restarted for it: its
# services drain as for any shutdown. Instances of a pool get theirs from a new instance configuration instead.
#
# --instance-id OCID
# --shape NAME         VM.Standard.E4.Flex
# --ocpus NUMBER       of a flexible shape: 2
# --memory-gb NUMBER   of a flexible shape: 16
# --dry-run            only shows what would be changed

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([instance-id]='' [shape]=VM.Standard.E4.Flex [ocpus]=2 [memory-gb]=16)
read_options "$@"
need instance-id
check_ocid instance-id instance
check shape 'VM\.[A-Za-z0-9.]+' 'the shape of a virtual machine, such as VM.Standard.E4.Flex'
check_number ocpus 1 128
check_number memory-gb 1 2048
need_program oci jq
flexible=()
if [[ ${option[shape]} == *.Flex ]]; then
    flexible=(--shape-config "$(json --argjson ocpus "${option[ocpus]}" --argjson memory "${option[memory-gb]}" '{ocpus: $ocpus, memoryInGBs: $memory}')")
fi
instance=$(oci compute instance get --instance-id "${option[instance-id]}")
if ! jq --exit-status --arg shape "${option[shape]}" --argjson ocpus "${option[ocpus]}" --argjson memory "${option[memory-gb]}" '.data
    | .shape == $shape and (($shape | endswith(".Flex") | not)
        or (."shape-config".ocpus == $ocpus and ."shape-config"."memory-in-gbs" == $memory))' <<<"$instance" >/dev/null; then
    change oci compute instance update --instance-id "${option[instance-id]}" --shape "${option[shape]}" "${flexible[@]}" \
        --update-operation-constraint ALLOW_DOWNTIME --force >/dev/null
fi
