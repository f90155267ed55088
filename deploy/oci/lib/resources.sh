# shellcheck shell=bash
# What is in the cloud already, and how it is changed. Everything that a script says goes to standard error; standard
# output is for the one thing that the next script wants, mostly an OCID.

# Stands for the OCID of what --dry-run did not create.
readonly NOT_CREATED=not-created

say() {
    printf '%s\n' "$*" >&2
}

# change COMMAND…: runs what changes something; with --dry-run it is only shown.
change() {
    if $dry_run; then
        {
            printf 'would run:'
            printf ' %q' "$@"
            printf '\n'
        } >&2
    else
        "$@"
    fi
}

# create COMMAND…: the same for what creates something; prints its OCID.
create() {
    if $dry_run; then
        change "$@"
        printf '%s\n' "$NOT_CREATED"
    else
        "$@" | jq --exit-status --raw-output '.data.id'
    fi
}

# find_named NAME COMMAND…: of what COMMAND lists, the one that has this name and is not gone, as JSON; nothing if there is none.
find_named() {
    local name=$1
    shift
    "$@" --all | jq --compact-output --arg name "$name" '
        [ (.data | if type == "object" then .items else . end)[]?
          | select((."display-name" // ."secret-name" // .name) == $name)
          | select((."lifecycle-state" // "") | test("TERMINAT|DELET") | not) ][0] // empty'
}

# json ARGUMENT…: builds JSON, see `jq --null-input`.
json() {
    jq --null-input --compact-output "$@"
}

# json_list TEXT: a list from text with commas.
json_list() {
    jq --null-input --compact-output --arg text "$1" '$text | split(",") | map(select(. != ""))'
}
