#!/usr/bin/env bash
# Lets the load decide how many instances a pool has. A threshold acts when three averages of a minute each are beyond it.
#
# --profile NAME          where the numbers below come from:
#                           frontend       CPU: +1 above 70 %, -1 below 30 %, from 2 to 10, 2 at first
#                           api            CPU: +2 above 70 %, -1 below 30 %, from 2 to 10, 2 at first
#                           large-cpu      CPU: +3 above 80 %, -1 below 30 %, from 2 to 20, 3 at first
#                           large-memory   memory: +2 above 85 %, -1 below 50 %, from 2 to 20, 3 at first
# --pool-id OCID          from create-instance-pool.sh
# --compartment-id OCID   or the variable OCI_COMPARTMENT_ID
# --name NAME             of the configuration: PROFILE-autoscale
# --metric NAME           CPU_UTILIZATION or MEMORY_UTILIZATION
# --add NUMBER            instances at a time
# --above PERCENT
# --remove NUMBER         instances at a time
# --below PERCENT
# --minimum NUMBER
# --maximum NUMBER
# --initial NUMBER
# --cooldown-seconds NUMBER   between two changes: 300, which is also the least
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
option=([profile]='' [pool-id]='' [compartment-id]=${OCI_COMPARTMENT_ID:-} [name]='' [metric]='' [add]='' [above]='' [remove]=''
    [below]='' [minimum]='' [maximum]='' [initial]='' [cooldown-seconds]=300 [replace]=no)
read_options "$@"
check_compartment
need profile pool-id
check_ocid pool-id instancepool

# profile METRIC ADD ABOVE REMOVE BELOW MINIMUM MAXIMUM INITIAL: what an option is that was not given.
profile() {
    local name
    for name in metric add above remove below minimum maximum initial; do
        option[$name]=${option[$name]:-$1}
        shift
    done
}
case ${option[profile]} in
    frontend) profile CPU_UTILIZATION 1 70 1 30 2 10 2 ;;
    api) profile CPU_UTILIZATION 2 70 1 30 2 10 2 ;;
    large-cpu) profile CPU_UTILIZATION 3 80 1 30 2 20 3 ;;
    large-memory) profile MEMORY_UTILIZATION 2 85 1 50 2 20 3 ;;
    *) misuse "--profile is \`${option[profile]}\`; expected: frontend, api, large-cpu or large-memory" ;;
esac
option[name]=${option[name]:-${option[profile]}-autoscale}
check_name name
check metric 'CPU_UTILIZATION|MEMORY_UTILIZATION' 'CPU_UTILIZATION or MEMORY_UTILIZATION'
check replace 'yes|no' 'yes or no'
check_number minimum 0 500
check_number maximum "${option[minimum]}" 500
check_number initial "${option[minimum]}" "${option[maximum]}"
check_number add 1 100
check_number remove 1 100
check_number above 2 99
check_number below 1 "$((option[above] - 1))"
check_number cooldown-seconds 300 86400
need_program oci jq

policies=$(json --arg name "${option[name]}" --arg metric "${option[metric]}" --argjson add "${option[add]}" \
    --argjson above "${option[above]}" --argjson remove "${option[remove]}" --argjson below "${option[below]}" \
    --argjson minimum "${option[minimum]}" --argjson maximum "${option[maximum]}" --argjson initial "${option[initial]}" '
    def rule(name; by; operator; value): {
        displayName: name,
        action: {type: "CHANGE_COUNT_BY", value: by},
        metric: {metricSource: "COMPUTE_AGENT", metricType: $metric, threshold: {operator: operator, value: value}}
    };
    [{
        displayName: $name,
        policyType: "threshold",
        capacity: {initial: $initial, min: $minimum, max: $maximum},
        rules: [rule("scale-out"; $add; "GT"; $above), rule("scale-in"; -$remove; "LT"; $below)]
    }]')
apply_autoscaling "$policies"
