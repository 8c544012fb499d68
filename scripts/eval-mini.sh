#!/bin/bash
# Starts ds4-server with the default model (or MODEL) on a free port, runs the evaluation of train/eval_mini.py, stops the server.
set -euo pipefail
cd "$(dirname "$0")/.."
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
build/bin/ds4-server -m "${MODEL:-models/ds4-mini.gguf}" --host 127.0.0.1 --port "$port" --no-kv-disk 2>build/eval-mini.log &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    kill -0 $server 2>/dev/null || { cat build/eval-mini.log >&2; exit 1; }
    python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/health', timeout=2)" 2>/dev/null && break
    sleep 0.1
done
python3 train/eval_mini.py --url "http://127.0.0.1:$port" "$@"
