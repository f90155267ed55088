#!/usr/bin/env bash
# Writes the cron file that gives the workers' pool more instances by day and fewer by night. The machine whose cron it is needs
# these scripts, `oci` and the right to change the pool. Without such a machine, use create-schedule-autoscaling.sh.
#
# Not every cron knows time zones, so the times of --time-zone are translated into the machine's own.
#
# --pool-id OCID           from create-instance-pool.sh
# --time-zone NAME         of the times here: Asia/Kolkata
# --machine-time-zone NAME of the machine whose cron it is: UTC
# --days DAYS              on which days: * for all, MON-FRI, or MON,WED
# --up-at TIME             08:00
# --up-size NUMBER         10
# --down-at TIME           20:00
# --down-size NUMBER       3
# --user NAME              as whom: root
# --file FILE              /etc/cron.d/bharatmart-worker-scaling; - for standard output
# --dry-run                only shows what would be changed

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
# shellcheck source=lib/times.sh
source "$here/lib/times.sh"
option=([pool-id]='' [time-zone]=Asia/Kolkata [machine-time-zone]=UTC [days]='*' [up-at]=08:00 [up-size]=10 [down-at]=20:00
    [down-size]=3 [user]=root [file]=/etc/cron.d/bharatmart-worker-scaling)
read_options "$@"
need pool-id file
check_ocid pool-id instancepool
check_zone time-zone
check_zone machine-time-zone
check_days days
check_time up-at
check_time down-at
check_number up-size 0 500
check_number down-size 0 500
check user '[a-z_][a-z0-9_-]*' 'the name of a user'
here=$(realpath "$here")

# entry TIME SIZE
entry() {
    local minute hour days
    read -r minute hour days < <(translate "$1" "${option[days]}" "${option[time-zone]}" "${option[machine-time-zone]}")
    # A percent sign would end the line; neither a path of ours nor an OCID has one.
    echo "$minute $hour * * $days ${option[user]} $here/set-pool-size.sh --pool-id ${option[pool-id]} --size $2"
}

text="# ${option[up-at]} and ${option[down-at]} in ${option[time-zone]}, on a machine in ${option[machine-time-zone]}; made by schedule-worker-scaling.sh.
SHELL=/bin/bash
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
$(entry "${option[up-at]}" "${option[up-size]}")
$(entry "${option[down-at]}" "${option[down-size]}")"
if [[ ${option[file]} == - ]] || $dry_run; then
    echo "$text"
elif [[ ! -f ${option[file]} || $(<"${option[file]}") != "$text" ]]; then
    # Complete or not at all: cron reads the folder every minute.
    temporary=$(mktemp "${option[file]}.XXXXXX")
    echo "$text" >"$temporary"
    chmod 0644 "$temporary"
    mv "$temporary" "${option[file]}"
    say "${option[file]} written"
fi
