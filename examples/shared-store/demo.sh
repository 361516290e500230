#!/usr/bin/env bash
# Two queues share a sweep by way of a PostgreSQL server, which this makes in a folder and stops at its end.
set -euo pipefail
cd "$(dirname "$0")"
place=$(mktemp -d "${TMPDIR:-/tmp}/orchestra-shared-store.XXXXXX")
programs=$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb | tail -n 1)")
as_postgres=()
if [ "$(id -u)" -eq 0 ]; then
    # A server does not run as root.
    as_postgres=(runuser -u postgres --)
    chown postgres "$place" && chmod 755 "$place"
fi
server() { (cd / && "${as_postgres[@]}" "$programs/pg_ctl" -D "$place/server" -w "$@" >/dev/null); }
finish() {
    server -m fast stop || true
    rm -rf "$place"
}

"${as_postgres[@]}" "$programs/initdb" -D "$place/server" -A trust -U postgres -E UTF8 --no-sync >/dev/null
trap finish EXIT
# Only a socket in that folder: nobody else gets in.
server -l "$place/log" -o "-k $place -c listen_addresses=''" start

# What each of the machines is told. The home must be a folder that all of them see.
export ORCHESTRA_HOME=$place/home
export ORCHESTRA_STORE="postgres url='host=$place user=postgres dbname=postgres'"

orchestra run -y measure.sh 'n=range[1:8]' --stage-trials 2>&1 | grep -c '^INFO: .* Staging trial' | sed 's/$/ runs staged/'
orchestra run -y queue run-once=yes >"$place/one.log" 2>&1 &
orchestra run -y queue run-once=yes ignore-running=yes >"$place/two.log" 2>&1 &
wait
for log in "$place/one.log" "$place/two.log"; do
    echo "a queue started $(grep -c 'Starting staged run' "$log") runs"
done
orchestra runs --completed -F 'op = measure.sh'
