#!/usr/bin/env bash
# Gives a pool of instances another size. An autoscaling configuration of the pool would change it back.
#
# --pool-id OCID   from create-instance-pool.sh
# --size NUMBER
# --dry-run        only shows what would be changed

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([pool-id]='' [size]='')
read_options "$@"
need pool-id size
check_ocid pool-id instancepool
check_number size 0 500
need_program oci jq
size=$(oci compute-management instance-pool get --instance-pool-id "${option[pool-id]}" | jq '.data.size')
if [[ $size != "${option[size]}" ]]; then
    change oci compute-management instance-pool update --instance-pool-id "${option[pool-id]}" --size "${option[size]}" --force >/dev/null
    say "$size -> ${option[size]}"
fi
