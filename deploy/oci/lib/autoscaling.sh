# shellcheck shell=bash
# A pool takes one autoscaling configuration: one policy of thresholds, or up to 50 schedules.

# Policies as the service gives them, in the form in which they were sent.
readonly SENT_POLICIES='[.data.policies[] | {displayName: ."display-name", policyType: ."policy-type"}
    + (.capacity | if .min == null then {capacity: {initial}} else {capacity: {initial, min, max}} end)
    + if ."policy-type" == "scheduled"
      then {executionSchedule: ."execution-schedule" | {type, timezone, expression}}
      else {rules: [.rules[] | {displayName: ."display-name", action: .action | {type, value},
          metric: {metricSource: .metric."metric-source", metricType: .metric."metric-type",
              threshold: .metric.threshold | {operator, value}}}]}
      end]'

# apply_autoscaling POLICIES: gives the pool of --pool-id these policies, and prints the OCID of its configuration. Another
# configuration that it has is only replaced with --replace yes.
apply_autoscaling() {
    local policies=$1 pool=${option[pool-id]} id has cooldown
    id=$(oci autoscaling configuration list --compartment-id "${option[compartment-id]}" --all |
        jq --raw-output --arg pool "$pool" '[.data[]? | select(.resource.id == $pool)][0].id // empty')
    if [[ -n $id ]]; then
        has=$(oci autoscaling configuration get --auto-scaling-configuration-id "$id")
        cooldown=$(jq '.data."cool-down-in-seconds"' <<<"$has")
        if [[ $cooldown == "${option[cooldown-seconds]}" ]] &&
            jq --exit-status --argjson policies "$policies" "$SENT_POLICIES"' == $policies' <<<"$has" >/dev/null; then
            echo "$id"
            return
        fi
        [[ ${option[replace]} == yes ]] ||
            fail "the pool has another autoscaling configuration, $id, and takes only one; with --replace yes it is replaced"
        change oci autoscaling configuration delete --auto-scaling-configuration-id "$id" --force >/dev/null
    fi
    create oci autoscaling configuration create --compartment-id "${option[compartment-id]}" --display-name "${option[name]}" \
        --resource "$(json --arg pool "$pool" '{type: "instancePool", id: $pool}')" \
        --cool-down-in-seconds "${option[cooldown-seconds]}" --is-enabled true --policies "$policies"
}
