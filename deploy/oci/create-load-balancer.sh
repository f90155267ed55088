#!/usr/bin/env bash
# Makes the load balancer: /api goes to the API's instances, everything else to the frontend's, if there are any.
#
# --compartment-id OCID    or the variable OCI_COMPARTMENT_ID
# --name NAME              bharatmart-api-lb
# --subnet-ids OCIDS       public; one regional subnet, or two of different availability domains, separated by a comma
# --nsg-ids OCIDS          network security groups, separated by commas
# --minimum-mbps NUMBER    bandwidth that is always there: 10
# --maximum-mbps NUMBER    bandwidth that it grows to by itself: 100
# --with-frontend YES/NO   whether instances serve the storefront: no; a bucket does then
# --certificate-id OCID    of the Certificates service: HTTPS on port 443, and port 80 leads there; HTTP alone without it
# --dry-run                only shows what would be changed
#
# Prints the OCID of the load balancer. set-bandwidth.sh changes the bandwidth later.

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [name]=bharatmart-api-lb [subnet-ids]='' [nsg-ids]='' [minimum-mbps]=10
    [maximum-mbps]=100 [with-frontend]=no [certificate-id]='')
read_options "$@"
check_compartment
need subnet-ids
check_name name
check_ocids subnet-ids subnet
check_ocids nsg-ids networksecuritygroup
check_ocid certificate-id certificate
check with-frontend 'yes|no' 'yes or no'
check_number minimum-mbps 10 8000
check_number maximum-mbps "${option[minimum-mbps]}" 8000
need_program oci jq

found=$(find_named "${option[name]}" oci lb load-balancer list --compartment-id "${option[compartment-id]}" --display-name "${option[name]}")
if [[ -n $found ]]; then
    id=$(jq --raw-output .id <<<"$found")
else
    shape=$(json --argjson minimum "${option[minimum-mbps]}" --argjson maximum "${option[maximum-mbps]}" \
        '{minimumBandwidthInMbps: $minimum, maximumBandwidthInMbps: $maximum}')
    change oci lb load-balancer create --compartment-id "${option[compartment-id]}" --display-name "${option[name]}" \
        --shape-name flexible --shape-details "$shape" --subnet-ids "$(json_list "${option[subnet-ids]}")" \
        --nsg-ids "$(json_list "${option[nsg-ids]}")" --wait-for-state SUCCEEDED >/dev/null
    # What waits gets the work request as its answer, not the load balancer.
    found=$(find_named "${option[name]}" oci lb load-balancer list --compartment-id "${option[compartment-id]}" --display-name "${option[name]}")
    id=$(jq --raw-output .id <<<"$found")
    id=${id:-$NOT_CREATED}
fi

# has KIND NAME: whether the load balancer had this part when it was looked at.
has() {
    [[ -n $found ]] && jq --exit-status --arg kind "$1" --arg name "$2" '.[$kind] // {} | has($name)' <<<"$found" >/dev/null
}

# agrees LISTENER FIELD VALUE: a listener that is there already is not changed, so it has to be as it was asked for.
agrees() {
    local value
    has listeners "$1" || return 0
    value=$(jq --raw-output --arg name "$1" --arg field "$2" '
        .listeners[$name] | .[$field] // ."ssl-configuration"[$field] // "" | if type == "array" then join(",") else . end' <<<"$found")
    [[ $value == "$3" ]] ||
        fail "the listener $1 is there with the $2 \`$value\` instead of \`$3\`; after \`oci lb listener delete --load-balancer-id $id --listener-name $1\` this makes it anew"
}

# backend_set NAME PORT PATH
backend_set() {
    has backend-sets "$1" || change oci lb backend-set create --load-balancer-id "$id" --name "$1" --policy ROUND_ROBIN \
        --health-checker-protocol HTTP --health-checker-url-path "$3" --health-checker-port "$2" \
        --health-checker-return-code 200 --health-checker-interval-in-ms 10000 --health-checker-timeout-in-ms 3000 \
        --health-checker-retries 3 --wait-for-state SUCCEEDED >/dev/null
}

# While it drains, the API answers 503 there, and the load balancer sends it nothing more.
backend_set api-backend-set 3000 /api/health
default=api-backend-set routing=()
if [[ ${option[with-frontend]} == yes ]]; then
    backend_set frontend-backend-set 80 /
    default=frontend-backend-set routing=(--routing-policy-name api_by_path)
    rules='[{"name": "api", "condition": "any(http.request.url.path sw '"'/api/'"')",
        "actions": [{"name": "FORWARD_TO_BACKENDSET", "backendSetName": "api-backend-set"}]}]'
    has routing-policies api_by_path || change oci lb routing-policy create --load-balancer-id "$id" --name api_by_path \
        --condition-language-version V1 --rules "$rules" --wait-for-state SUCCEEDED >/dev/null
fi

# Streams of an order's events are silent for up to 15 seconds.
listener=(oci lb listener create --load-balancer-id "$id" --default-backend-set-name "$default" --protocol HTTP
    --connection-configuration-idle-timeout 60 --wait-for-state SUCCEEDED)
agrees http default-backend-set-name "$default"
agrees https default-backend-set-name "$default"
agrees https certificate-ids "${option[certificate-id]}"
if [[ -z ${option[certificate-id]} ]]; then
    agrees http rule-set-names ''
    has listeners http || change "${listener[@]}" --name http --port 80 "${routing[@]}" >/dev/null
else
    agrees http rule-set-names to_https
    has rule-sets to_https || change oci lb rule-set create --load-balancer-id "$id" --name to_https --wait-for-state SUCCEEDED --items '[{
        "action": "REDIRECT", "responseCode": 301, "redirectUri": {"protocol": "HTTPS", "port": 443},
        "conditions": [{"attributeName": "PATH", "attributeValue": "/", "operator": "FORCE_LONGEST_PREFIX_MATCH"}]}]' >/dev/null
    has listeners http || change "${listener[@]}" --name http --port 80 --rule-set-names '["to_https"]' >/dev/null
    has listeners https || change "${listener[@]}" --name https --port 443 "${routing[@]}" \
        --ssl-certificate-ids "$(json_list "${option[certificate-id]}")" >/dev/null
fi
echo "$id"
