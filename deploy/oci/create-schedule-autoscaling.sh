#!/usr/bin/env bash
# Lets the clock decide how many instances a pool has: more from one time of day on, fewer from another.
#
# The service knows UTC only and Quartz expressions: second (always 0), minute, hour, day of the month, month, day of the week,
# year, with `?` for one of the two days. Times here are of --time-zone and are translated, the day as well where midnight is
# in between: 08:00 in India is 02:30 in UTC.
#
# --pool-id OCID          from create-instance-pool.sh
# --compartment-id OCID   or the variable OCI_COMPARTMENT_ID
# --name NAME             business-hours-scale
# --time-zone NAME        one without summer time: Asia/Kolkata
# --days DAYS             on which days: * for all, MON-FRI, or MON,WED
# --up-at TIME            08:00
# --up-size NUMBER        8
# --down-at TIME          22:00
# --down-size NUMBER      2
# --replace YES/NO        whether another configuration of the pool may be replaced: no
# --dry-run               only shows what would be changed
#
# Prints the OCID of the autoscaling configuration.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
# shellcheck source=lib/autoscaling.sh
source "$here/lib/autoscaling.sh"
# shellcheck source=lib/times.sh
source "$here/lib/times.sh"
option=([pool-id]='' [compartment-id]=${OCI_COMPARTMENT_ID:-} [name]=business-hours-scale [time-zone]=Asia/Kolkata [days]='*'
    [up-at]=08:00 [up-size]=8 [down-at]=22:00 [down-size]=2 [replace]=no)
read_options "$@"
# Required, and of no effect on schedules.
option[cooldown-seconds]=300
check_compartment
need pool-id
check_ocid pool-id instancepool
check_name name
check_zone time-zone
check_days days
check_time up-at
check_time down-at
check_number up-size 0 500
check_number down-size 0 500
check replace 'yes|no' 'yes or no'
[[ ${option[up-at]} != "${option[down-at]}" ]] || misuse "--up-at and --down-at are the same time"
need_program oci jq

# policy NAME TIME SIZE
policy() {
    local minute hour days
    read -r minute hour days < <(translate "$2" "${option[days]}" "${option[time-zone]}" UTC)
    json --arg name "$1" --argjson size "$3" --arg cron "0 $minute $hour ? * $days *" '{
        displayName: $name,
        policyType: "scheduled",
        capacity: {initial: $size},
        executionSchedule: {type: "cron", timezone: "UTC", expression: $cron}
    }'
}

up=$(policy "${option[name]}-up" "${option[up-at]}" "${option[up-size]}")
down=$(policy "${option[name]}-down" "${option[down-at]}" "${option[down-size]}")
apply_autoscaling "[$up,$down]"
