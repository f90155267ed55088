# shellcheck shell=bash
# The options of the scripts here. A script puts its options with their defaults into `option`, and its help into the
# comment at its head; --help, --dry-run and the messages about what is wrong come from here.

declare -A option=()
dry_run=false

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit "${2:-1}"
}

misuse() {
    fail "$1 (--help says what is possible)" 64
}

show_help() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

read_options() {
    local name value
    while (($# > 0)); do
        case $1 in
            --help | -h)
                show_help
                exit 0
                ;;
            --dry-run)
                dry_run=true
                shift
                continue
                ;;
            --*=*)
                name=${1%%=*} value=${1#*=}
                shift
                ;;
            --*)
                (($# >= 2)) || misuse "$1 needs a value"
                name=$1 value=$2
                shift 2
                ;;
            *) misuse "\`$1\` is no option" ;;
        esac
        name=${name#--}
        [[ $name =~ ^[a-z0-9-]+$ && -v option[$name] ]] || misuse "there is no option --$name"
        option[$name]=$value
    done
}

# need NAME…: options that must be given.
need() {
    local name
    for name in "$@"; do
        [[ -n ${option[$name]} ]] || misuse "--$name is required"
    done
}

# need_program NAME…
need_program() {
    local name
    for name in "$@"; do
        command -v "$name" >/dev/null || fail "the program \`$name\` is not installed"
    done
}

# check NAME PATTERN ALLOWED: an option that is given matches an extended regular expression.
check() {
    [[ -z ${option[$1]} || ${option[$1]} =~ ^($2)$ ]] || misuse "--$1 is \`${option[$1]}\`; expected: $3"
}

# check_ocid NAME TYPE: an option that is given is one OCID of that type.
check_ocid() {
    check "$1" "ocid1\.($2)\.[a-z0-9]+\.[a-z0-9-]*\.([a-z0-9-]*\.)*[a-z0-9_-]+" \
        "an OCID of the type ${2//|/ or }, such as ocid1.${2%%|*}.oc1..aaaa"
}

# check_ocids NAME TYPE: the same for several of them, separated by commas.
check_ocids() {
    local list=${option[$1]} one
    IFS=, read -ra ones <<<"$list"
    for one in "${ones[@]}"; do
        option[$1]=$one
        check_ocid "$1" "$2"
    done
    option[$1]=$list
}

check_compartment() {
    need compartment-id
    check_ocid compartment-id 'compartment|tenancy'
}

# check_number NAME LEAST MOST: a whole number in these bounds.
check_number() {
    local value=${option[$1]}
    [[ $value =~ ^(0|[1-9][0-9]{0,8})$ ]] && ((value >= $2 && value <= $3)) && return
    misuse "--$1 is \`$value\`; expected: a whole number from $2 to $3"
}

# check_name NAME: what a resource may be called.
check_name() {
    check "$1" '[A-Za-z0-9][A-Za-z0-9._-]{0,99}' 'letters, digits, dots, dashes and underscores, at most 100 of them'
}
