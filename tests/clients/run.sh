#!/bin/bash
# The real SDKs, Python and Node, against one server with ds4-mini. DS4_BUILD: the build; DS4_TEST_ENV: where the SDKs are.
# Closes with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${DS4_BUILD:-$PWD/build}
env_dir=${DS4_TEST_ENV:-$PWD/build/test-env}
model=${DS4_MODEL:-$PWD/models/ds4-mini.gguf}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
"$build/bin/ds4-server" -m "$model" --port "$port" -c 8192 --no-kv-disk 2>"$log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -f "$log"' EXIT
for _ in $(seq 200); do
    kill -0 $server 2>/dev/null || { cat "$log"; echo "0 passed, 1 failed"; exit 1; }
    grep -q listening "$log" && break
    sleep 0.05
done
passed=0 failed=0
run() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        echo "FAILED  $name"
        failed=$((failed + 1))
    fi
}
export OPENAI_BASE_URL=http://127.0.0.1:$port/v1 OPENAI_API_KEY=unused
for test in chat stream tools errors models; do
    run "python $test" "$env_dir/python/bin/python3" tests/clients/openai_client.py $test
done
cp tests/clients/openai_client.mjs "$env_dir/node/"
for test in chat stream tools errors; do
    run "node $test" node "$env_dir/node/openai_client.mjs" $test
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
