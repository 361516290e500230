#!/usr/bin/env bash
# Two queues share a sweep by way of a PostgreSQL server, which this makes in a folder and stops at its end.
set -euo pipefail
cd "$(dirname "$0")"
programs=$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)")
[ -x "$programs/initdb" ] || { echo "PostgreSQL's programs are needed: apt-get install postgresql" >&2; exit 1; }
place=$(mktemp -d "${TMPDIR:-/tmp}/orchestra-shared-store.XXXXXX")
as_postgres=()
if [ "$(id -u)" -eq 0 ]; then
    # A server does not run as root.
    as_postgres=(runuser -u postgres --)
    chown postgres "$place" && chmod 755 "$place"
fi
server() { (cd / && "${as_postgres[@]}" "$programs/pg_ctl" -D "$place/server" -w "$@" >/dev/null); }
finish() {
    [ ! -e "$place/server/postmaster.pid" ] || server -m fast stop || true
    rm -rf "$place"
}
trap finish EXIT
# What is shown is a summary; what goes wrong is shown as it is.
logged() { "${@:2}" >"$place/$1" 2>&1 || { cat "$place/$1" >&2; return 1; }; }

logged initdb "${as_postgres[@]}" "$programs/initdb" -D "$place/server" -A trust -U postgres -E UTF8 --no-sync
# Only a socket in that folder: nobody else gets in.
server -l "$place/log" -o "-k $place -c listen_addresses=''" start

# What each of the machines is told. The home must be a folder that all of them see.
export ORCHESTRA_HOME=$place/home
export ORCHESTRA_STORE="postgres url='host=$place user=postgres dbname=postgres'"

logged staged orchestra run -y measure.sh 'n=range[1:8]' --stage-trials
echo "$(grep -c '^INFO: .* Staging trial' "$place/staged") runs staged"
logged one orchestra run -y queue run-once=yes &
one=$!
logged two orchestra run -y queue run-once=yes ignore-running=yes
wait "$one"
for log in "$place/one" "$place/two"; do
    echo "a queue started $(grep -c 'Starting staged run' "$log") runs"
done
orchestra runs --completed -F 'op = measure.sh'
