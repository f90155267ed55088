#!/usr/bin/env bash
# Lets the instances of a compartment read the release and the settings, and nothing else: a dynamic group, and a policy for it.
#
# --compartment-id OCID   of the instances, the releases and the settings; or the variable OCI_COMPARTMENT_ID
# --tenancy-id OCID       groups belong to the tenancy; or the variable OCI_TENANCY_ID
# --bucket NAME           bharatmart-releases
# --name NAME             of the group and of the policy: bharatmart-instances
# --secret-id OCID        the settings, from store-settings.sh
# --dry-run               only shows what would be changed

set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=lib/options.sh
source "$here/lib/options.sh"
# shellcheck source=lib/resources.sh
source "$here/lib/resources.sh"
option=([compartment-id]=${OCI_COMPARTMENT_ID:-} [tenancy-id]=${OCI_TENANCY_ID:-} [bucket]=bharatmart-releases
    [name]=bharatmart-instances [secret-id]='')
read_options "$@"
check_compartment
need tenancy-id secret-id
check_ocid tenancy-id tenancy
check_ocid secret-id vaultsecret
check_name bucket
check_name name
need_program oci jq
compartment=${option[compartment-id]} name=${option[name]}

# Groups and policies are changed in the tenancy's home region only, and hold in all.
home=$(oci iam region-subscription list --tenancy-id "${option[tenancy-id]}" |
    jq --raw-output '[.data[] | select(."is-home-region")][0]."region-name" // empty')
[[ -n $home ]] || fail "the tenancy ${option[tenancy-id]} has no home region that this user may see"
export OCI_CLI_REGION=$home

rule="ALL {instance.compartment.id = '$compartment'}"
statements=$(json --arg group "$name" --arg compartment "$compartment" --arg bucket "${option[bucket]}" --arg secret "${option[secret-id]}" '[
    "Allow dynamic-group \($group) to read objects in compartment id \($compartment) where target.bucket.name = '\''\($bucket)'\''",
    "Allow dynamic-group \($group) to read secret-bundles in compartment id \($compartment) where target.secret.id = '\''\($secret)'\''"
]')

group=$(find_named "$name" oci iam dynamic-group list --compartment-id "${option[tenancy-id]}")
if [[ -z $group ]]; then
    change oci iam dynamic-group create --compartment-id "${option[tenancy-id]}" --name "$name" --matching-rule "$rule" \
        --description 'Instances that run BharatMart' >/dev/null
elif [[ $(jq --raw-output '."matching-rule"' <<<"$group") != "$rule" ]]; then
    change oci iam dynamic-group update --dynamic-group-id "$(jq --raw-output .id <<<"$group")" --matching-rule "$rule" --force >/dev/null
fi

policy=$(find_named "$name" oci iam policy list --compartment-id "${option[tenancy-id]}")
if [[ -z $policy ]]; then
    change oci iam policy create --compartment-id "${option[tenancy-id]}" --name "$name" --statements "$statements" \
        --description 'What instances that run BharatMart may read' >/dev/null
elif [[ $(jq --compact-output .statements <<<"$policy") != "$statements" ]]; then
    change oci iam policy update --policy-id "$(jq --raw-output .id <<<"$policy")" --statements "$statements" --version-date '' --force >/dev/null
fi
