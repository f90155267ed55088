#!/bin/bash
# Stands in for the entrypoint of PostgreSQL's image, on this machine's PostgreSQL: makes the database when there is none, runs
# the scripts in INITDB_SCRIPTS (in the image /docker-entrypoint-initdb.d) while it answers on its socket only, and serves.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown postgres "$PGDATA"
    exec gosu postgres "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086 # these are several arguments
    initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    trap 'pg_ctl --wait --mode=immediate stop' EXIT
    pg_ctl --wait --options "-c listen_addresses='' -c unix_socket_directories='$PGHOST'" start
    psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --command "CREATE DATABASE $POSTGRES_DB"
    for script in "$INITDB_SCRIPTS"/*.sh; do
        # shellcheck source=/dev/null
        . "$script"
    done
    trap - EXIT
    pg_ctl --wait --mode=fast stop
fi
exec "$@"
