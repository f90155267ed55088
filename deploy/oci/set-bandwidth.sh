#!/usr/bin/env bash
# Changes between which bounds a flexible load balancer chooses its bandwidth by itself.
#
# --load-balancer-id OCID
# --minimum-mbps NUMBER     always there, and paid for: 10
# --maximum-mbps NUMBER     8000
# --dry-run                 only shows what would be changed

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([load-balancer-id]='' [minimum-mbps]=10 [maximum-mbps]=8000)
read_options "$@"
need load-balancer-id
check_ocid load-balancer-id loadbalancer
check_number minimum-mbps 10 8000
check_number maximum-mbps "${option[minimum-mbps]}" 8000
need_program oci jq
wanted=$(json --argjson minimum "${option[minimum-mbps]}" --argjson maximum "${option[maximum-mbps]}" \
    '{minimumBandwidthInMbps: $minimum, maximumBandwidthInMbps: $maximum}')
has=$(oci lb load-balancer get --load-balancer-id "${option[load-balancer-id]}" | jq --compact-output '.data."shape-details"
    | {minimumBandwidthInMbps: ."minimum-bandwidth-in-mbps", maximumBandwidthInMbps: ."maximum-bandwidth-in-mbps"}')
if [[ $has != "$wanted" ]]; then
    change oci lb load-balancer update-load-balancer-shape --load-balancer-id "${option[load-balancer-id]}" \
        --shape-name flexible --shape-details "$wanted" --force --wait-for-state SUCCEEDED >/dev/null
fi
