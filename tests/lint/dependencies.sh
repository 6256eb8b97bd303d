#!/usr/bin/env bash
# Checks the dependency tree against deny.toml: licences, bans, sources, and advisories where their database can be
# reached (it is fetched from the network; a machine without one still checks the rest).
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
deny=.cache/tools/bin/cargo-deny
if ! "$deny" --version 2>/dev/null | grep -qF "$version"; then
    echo "lint: building cargo-deny $version (once)" >&2
    CARGO_TARGET_DIR=.cache/tools/target cargo install --quiet --locked --root .cache/tools --version "$version" cargo-deny
    rm -rf .cache/tools/target
fi

"$deny" --log-level error check bans licenses sources

if "$deny" --log-level error fetch db 2>/dev/null; then
    "$deny" --log-level error check --disable-fetch advisories
else
    echo "lint: advisories are not checked, their database cannot be reached" >&2
fi
