# Stripe's CLI comes from npm; node and npm themselves come from the Python environment.
# shellcheck shell=bash

NODE_PROJECT=$ROOT/tests/stripe_cli

node_fingerprint() {
    { cat "$NODE_PROJECT/package-lock.json" && pwd -P; } | sha256sum | cut -d ' ' -f 1
}

node_is_current() {
    [ -f "$NODE_PROJECT/package-lock.json" ] || return 0
    [ -d "$NODE_PROJECT/node_modules" ] && [ -f "$STAMPS/node" ] && [ "$(cat "$STAMPS/node")" = "$(node_fingerprint)" ]
}

install_node_packages() {
    rm -f "$STAMPS/node"
    say "installing Stripe's CLI into tests/stripe_cli"
    logged "npm ci" env PATH="$VENV/bin:$PATH" "$VENV/bin/npm" ci --prefix "$NODE_PROJECT" \
        --ignore-scripts --cache "${npm_config_cache:-$TOOLS/cache/npm}" --no-audit --no-fund --no-update-notifier
    node_fingerprint >"$STAMPS/node"
}
