# shellcheck shell=bash
# Times of day in one time zone and in another.

readonly WEEK=(SUN MON TUE WED THU FRI SAT)

# check_time NAME
check_time() {
    check "$1" '([01][0-9]|2[0-3]):[0-5][0-9]' 'a time of day such as 08:00'
}

# check_days NAME
check_days() {
    local day='(SUN|MON|TUE|WED|THU|FRI|SAT)'
    check "$1" "\\*|$day-$day|$day(,$day)*" '* for every day, a range such as MON-FRI, or a list such as MON,WED'
}

# check_zone NAME: a zone whose clocks are never changed, since a schedule in another zone would be an hour off for half the year.
check_zone() {
    local zone=${option[$1]}
    [[ $zone =~ ^[A-Za-z0-9_/+-]+$ && -f /usr/share/zoneinfo/$zone ]] || misuse "--$1 is \`$zone\`; expected: a time zone such as Asia/Kolkata"
    [[ $(offset "$zone" 2026-01-01) == $(offset "$zone" 2026-07-01) ]] || misuse "--$1 is \`$zone\`, which has summer time; expected: one that has not"
}

# offset ZONE DATE: minutes that its clocks are before UTC.
offset() {
    local text
    text=$(TZ=$1 date --date "$2" +%z)
    echo $(("${text:0:1}1" * (10#${text:1:2} * 60 + 10#${text:3:2})))
}

# translate TIME DAYS FROM TO: `minute hour days` in the zone TO of what the arguments mean in the zone FROM.
translate() {
    local time=$1 days=$2 minutes shift
    minutes=$((10#${time%:*} * 60 + 10#${time#*:} - $(offset "$3" 2026-01-01) + $(offset "$4" 2026-01-01)))
    shift=$(((minutes + 2 * 1440) / 1440 - 2))
    minutes=$((minutes - shift * 1440))
    echo "$((minutes % 60)) $((minutes / 60)) $(shift_days "$days" "$shift")"
}

# shift_days DAYS NUMBER: the days so many days later.
shift_days() {
    local days=$1 shift=$2 first last index shifted=()
    if [[ $days == '*' || $shift == 0 ]]; then
        echo "$days"
        return
    fi
    local wanted=,$days,
    if [[ $days == *-* ]]; then
        wanted=,
        first=${days%-*} last=${days#*-}
        for index in {0..13}; do
            [[ $wanted != , || ${WEEK[index % 7]} == "$first" ]] || continue
            wanted+=${WEEK[index % 7]},
            [[ ${WEEK[index % 7]} != "$last" ]] || break
        done
    fi
    for index in {0..6}; do
        if [[ $wanted == *,${WEEK[index]},* ]]; then
            shifted+=("${WEEK[(index + shift + 7) % 7]}")
        fi
    done
    (
        IFS=,
        echo "${shifted[*]}"
    )
}
