#!/bin/sh
# Plan or apply the migrations of a module through a pgdbm service, in any pipeline.
#
#   pgdbm-deploy.sh plan MODULE FOLDER [OPTION]...      print the plan as Markdown; change nothing
#   pgdbm-deploy.sh migrate MODULE FOLDER [OPTION]...   register the files, apply them, and wait for the end
#
# PGDBM_SERVER and PGDBM_TOKEN (or PGDBM_TOKEN_FILE) are the same as for `pgdbm deploy`, and so are the options and exit
# codes. PGDBM is the command: pgdbm by default, or a container that sees the folder, such as
#   PGDBM="docker run --rm --env PGDBM_SERVER --env PGDBM_TOKEN --volume $PWD:$PWD:ro --workdir $PWD registry.example/pgdbm"
# PGDBM_ATTEMPTS (3) limits how often an unavailable service is retried; PGDBM_PAUSE_S (10) is the pause in seconds.
set -eu

usage() {
    sed -n 's/^#   \(pgdbm-deploy.sh .*\)/\1/p' "$0" >&2
    exit 2
}

[ $# -ge 3 ] || usage
action=$1 module=$2 folder=$3
shift 3
case $action in
    plan) set -- --dry-run --format markdown "$@" ;;
    migrate) ;;
    *) usage ;;
esac

attempt=1
while :; do
    code=0
    # Unquoted: PGDBM may have arguments.
    ${PGDBM:-pgdbm} deploy "$module" --dir "$folder" "$@" || code=$?
    # 6: the service or its database is unavailable, which is the only error that a retry can fix.
    if [ "$code" -ne 6 ] || [ "$attempt" -ge "${PGDBM_ATTEMPTS:-3}" ]; then
        exit "$code"
    fi
    attempt=$((attempt + 1))
    echo "pgdbm is unavailable; attempt $attempt in ${PGDBM_PAUSE_S:-10} s" >&2
    sleep "${PGDBM_PAUSE_S:-10}"
done
