#!/bin/bash
# The tests' own Python and Node packages, in folders of the build: nothing goes into the system.
#   build/test-env/python   a virtual environment with tests/requirements.txt
#   build/test-env/node     node_modules with tests/clients/package.json
# Asks no network when the folders match what is wanted. Prints nothing when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
env_dir=build/test-env
mkdir -p "$env_dir"

up_to_date() { # WANTED STAMP
    [ -f "$2" ] && cmp -s "$1" "$2"
}

wanted=tests/requirements.txt
if ! up_to_date $wanted $env_dir/python/installed.txt; then
    echo "test-deps: Python packages into $env_dir/python"
    rm -rf $env_dir/python
    python3 -m venv $env_dir/python
    $env_dir/python/bin/python3 -m pip install --quiet --disable-pip-version-check -r $wanted
    cp $wanted $env_dir/python/installed.txt
fi

wanted=tests/clients/package.json
if [ -f $wanted ] && ! up_to_date $wanted $env_dir/node/package.json.installed; then
    echo "test-deps: Node packages into $env_dir/node"
    rm -rf $env_dir/node
    mkdir -p $env_dir/node
    cp $wanted $env_dir/node/package.json
    (cd $env_dir/node && npm install --silent --no-audit --no-fund --ignore-scripts </dev/null)
    cp $wanted $env_dir/node/package.json.installed
fi
