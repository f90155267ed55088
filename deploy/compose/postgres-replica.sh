#!/bin/bash
# Copies the primary the first time, then follows it. In the place of the entrypoint of PostgreSQL's image, which would make a
# database of its own.
set -euo pipefail

export PGPASSWORD=$REPLICATION_PASSWORD
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    # What a copy that was interrupted has left.
    find "$PGDATA" -mindepth 1 -delete
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    copy=(pg_basebackup "--host=$PRIMARY_HOST" --username=replication "--pgdata=$PGDATA"
        --wal-method=stream --checkpoint=fast --slot=replica --write-recovery-conf)
    if [ "$(id -u)" = 0 ]; then gosu postgres "${copy[@]}"; else "${copy[@]}"; fi
fi
unset PGPASSWORD
# The image's own entrypoint starts it, as its own user.
exec docker-entrypoint.sh "$@"
