#!/usr/bin/env bash
# scripts/schemathesis.sh [OPTIONS...]: starts examples/service and lets schemathesis try its API by its OpenAPI document.
# SCHEMATHESIS names the program (pip install schemathesis); paths in OPTIONS are absolute. Exits with 1 where it finds a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
schemathesis=$(realpath "$(command -v "${SCHEMATHESIS:-schemathesis}")")
root=$PWD
work=$(mktemp -d)
export SOUPS_ROOTS=$PWD/examples/digits SOUPS_DATA=$work/data SOUPS_TOKEN=schemathesis-token
export SOUPS_PORT=0 SOUPS_RATE=1000000 SOUPS_QUEUE=100000 SOUPS_LOG=info SOUPS_HEARTBEAT=1

node examples/service/server.js >"$work/log" 2>&1 &
service=$!
trap 'kill -9 $service 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
  url=$(grep -o 'http://[0-9.:]*' "$work/log" | head -1) || true
  [ -z "$url" ] || break
  sleep 0.1
done
[ -n "$url" ] || { cat "$work/log"; exit 1; }

status=0
# It keeps what it found where it is started.
(
  cd "$work"
  export SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH=$root/scripts PYTHONDONTWRITEBYTECODE=1
  "$schemathesis" --config-file "$root/scripts/schemathesis.toml" run "$url/openapi.json" --url "$url" \
    -H "Authorization: Bearer $SOUPS_TOKEN" "$@"
) || status=$?

# Whatever came, the service still answers, and stops in order.
node -e 'fetch(process.argv[1]).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))' "$url/health/ready" || status=1
kill -TERM "$service"
wait "$service" || status=1
! grep '"level":50' "$work/log" || status=1
exit "$status"
