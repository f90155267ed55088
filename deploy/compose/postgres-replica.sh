#!/bin/bash
# Copies the primary the first time, then follows it. In the place of the entrypoint of PostgreSQL's image, which would make a
# database of its own.
set -euo pipefail

as_postgres() {
    if [ "$(id -u)" = 0 ]; then gosu postgres "$@"; else "$@"; fi
}

ask_primary() {
    psql "--host=$PRIMARY_HOST" --username=replication "--dbname=$POSTGRES_DB" --no-psqlrc --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 --command "$1"
}

# Whether this copy can never catch up: the primary has thrown away what it had not read yet (max_slot_wal_keep_size).
is_left_behind() {
    local slot
    # Not of one that was promoted: it follows nobody, and may hold what nobody else has.
    [ -e "$PGDATA/standby.signal" ] || return 1
    if ! slot=$(ask_primary "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'replica'"); then
        echo "the primary does not answer: going on with the copy that is here" >&2
        return 1
    fi
    # Nor is there one when the primary was made anew.
    [ "$slot" = lost ] || [ -z "$slot" ]
}

export PGPASSWORD=$REPLICATION_PASSWORD
if is_left_behind; then
    echo "the primary no longer has what this replica has not read: copying it anew" >&2
    rm "$PGDATA/global/pg_control"
    ask_primary "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'replica'" >/dev/null
    ask_primary "SELECT pg_create_physical_replication_slot('replica')" >/dev/null
fi
# What pg_basebackup writes last: without it, the copy was interrupted.
if [ ! -s "$PGDATA/global/pg_control" ]; then
    mkdir -p "$PGDATA"
    find "$PGDATA" -mindepth 1 -delete
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    as_postgres pg_basebackup "--host=$PRIMARY_HOST" --username=replication "--pgdata=$PGDATA" \
        --wal-method=stream --checkpoint=fast --slot=replica --write-recovery-conf
fi
unset PGPASSWORD
# The image's own entrypoint starts it, as its own user.
exec docker-entrypoint.sh "$@"
