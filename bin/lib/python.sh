# The Python to use, uv in .tools/, and the packages of the lock files in .venv/.
# shellcheck shell=bash

PYTHON=
python_is_debians=yes

# choose_python: sets PYTHON to the first interpreter that is new enough and can build packages.
# Debian's own need no headers yet: python3-dev can be installed. Any other must bring its own.
choose_python() {
    local name path seen='none' why
    # shellcheck disable=SC2086
    for name in ${BOOTSTRAP_PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11}; do
        path=$(command -v "$name") || continue
        why=$(judge_python "$path") || why="it does not run"
        case $why in
            debian | other)
                PYTHON=$path
                python_is_debians=$([ "$why" = debian ] && echo yes || echo no)
                return 0 ;;
            *) seen="$path: $why" ;;
        esac
    done
    refuse "Python 3.11 or newer is needed (found: $seen); install it, or name one in BOOTSTRAP_PYTHON"
}

# recall_python: whose interpreter the last set-up used, so that nothing need be started to know what it needs.
recall_python() {
    if [ -f "$STAMPS/python-is-debians" ]; then
        python_is_debians=$(cat "$STAMPS/python-is-debians")
    fi
}

# judge_python PATH: prints debian, other, or why it will not do.
judge_python() {
    "$1" -I - <<'PYTHON' 2>/dev/null
import os, sys, sysconfig
real = os.path.realpath(sys.executable)
if sys.version_info < (3, 11):
    print("it is %d.%d" % sys.version_info[:2])
elif sys.prefix != sys.base_prefix:
    print("it belongs to a virtual environment")
elif real.startswith("/usr/bin/") and os.path.exists("/var/lib/dpkg/status"):
    print("debian")
elif not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("it has no Python.h")
else:
    try:
        import ensurepip, venv
        print("other")
    except ImportError as error:
        print(error)
PYTHON
}

# python_debian_packages: what Debian's interpreter needs to build packages and make environments.
python_debian_packages() {
    [ "$python_is_debians" = yes ] || return 0
    local wanted
    wanted=$(readlink -f "${PYTHON:-/usr/bin/python3}")
    if [ "$wanted" = "$(readlink -f /usr/bin/python3)" ]; then
        printf '%s\n' python3-dev python3-venv
    else
        printf '%s\n' "${wanted##*/}-dev" "${wanted##*/}-venv"
    fi
}

check_python_can_build() {
    "$PYTHON" -I -c 'import ensurepip, venv' 2>>"$LOG" ||
        refuse "$PYTHON cannot make virtual environments; install the venv package of your system for it"
    is_debian || say "not a Debian or Ubuntu: Pango, HarfBuzz, a C compiler and MariaDB's client library must be there already"
}

# lock_of run|dev
lock_of() {
    if [ "$1" = dev ]; then echo requirements-dev.lock; else echo requirements.lock; fi
}

# fingerprint run|dev: changes when the packages, the tools or the place of the checkout change.
fingerprint() {
    { cat "$(lock_of "$1")" requirements-tools.lock && pwd -P; } | sha256sum | cut -d ' ' -f 1
}

# python_is_current run|dev: dev holds everything that run needs, so it serves for both.
python_is_current() {
    [ -x "$VENV/bin/python" ] && [ -x "$UV" ] || return 1
    local profile
    for profile in dev "$1"; do
        if [ -f "$STAMPS/python-$profile" ] && [ "$(cat "$STAMPS/python-$profile")" = "$(fingerprint "$profile")" ]; then
            return 0
        fi
    done
    return 1
}

# trust_system_certificates: neither uv nor pip nor npm looks at the system's list, where a company adds its own.
trust_system_certificates() {
    local system_list=/etc/ssl/certs/ca-certificates.crt
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        if [ -n "${PIP_CERT:-}" ]; then
            export SSL_CERT_FILE=$PIP_CERT
        elif [ -s "$system_list" ]; then
            export SSL_CERT_FILE=$system_list
        fi
    fi
    if [ -n "${SSL_CERT_FILE:-}" ]; then
        export PIP_CERT=${PIP_CERT:-$SSL_CERT_FILE} NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$SSL_CERT_FILE}
    fi
}

# share_mirrors: uv reads neither PIP_* nor pip.conf, and pip does not read UV_*.
share_mirrors() {
    local index=${PIP_INDEX_URL:-}
    [ -n "$index" ] || index=$("$TOOLS/uv/bin/python" -m pip config get global.index-url 2>/dev/null) || index=
    if [ -n "$index" ]; then
        export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
    fi
    if [ -n "${PIP_EXTRA_INDEX_URL:-}" ] && [ -z "${UV_INDEX:-}" ]; then
        # pip takes the best version wherever it is; the hashes hold what that may be.
        export UV_INDEX=$PIP_EXTRA_INDEX_URL UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}
    fi
    if [ -n "${PIP_FIND_LINKS:-}" ] && [ -z "${UV_FIND_LINKS:-}" ]; then
        export UV_FIND_LINKS=$PIP_FIND_LINKS
    fi
}

# install_python_packages run|dev: the stamp goes first and comes back last.
install_python_packages() {
    local profile=$1 lock
    if [ -e "$STAMPS/python-dev" ]; then
        profile=dev
    fi
    lock=$(lock_of "$profile")
    rm -f "$STAMPS/python-run"
    if [ "$profile" = dev ]; then
        : >"$STAMPS/python-dev"
    fi
    require_free_space "$profile"
    place_uv_cache
    install_uv
    share_mirrors
    # The interpreter is the system's: uv must not fetch one of its own.
    export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
    if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        say "making .venv with $PYTHON"
        logged "uv venv" "$UV" venv --no-config --clear --python "$PYTHON" "$VENV"
    fi
    say "installing the Python packages of $lock"
    logged "uv pip sync" env VIRTUAL_ENV="$VENV" "$UV" pip sync --no-config --require-hashes --compile-bytecode \
        --build-constraints requirements-tools.lock "$lock"
    printf '%s\n' "$python_is_debians" >"$STAMPS/python-is-debians"
    fingerprint "$profile" >"$STAMPS/python-$profile.new"
    mv "$STAMPS/python-$profile.new" "$STAMPS/python-$profile"
}

# install_uv: a pinned uv in an environment of its own.
install_uv() {
    local wanted
    wanted=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-tools.lock)
    case $("$UV" --version 2>/dev/null) in
        "uv $wanted" | "uv $wanted "*) return 0 ;;
    esac
    say "installing uv $wanted into .tools/"
    rm -rf "$TOOLS/uv"
    if [ -n "${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-}}" ]; then
        export PIP_INDEX_URL=${PIP_INDEX_URL:-${UV_DEFAULT_INDEX:-$UV_INDEX_URL}}
    fi
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
    logged "making .tools/uv" "$PYTHON" -I -m venv "$TOOLS/uv"
    logged "installing uv" "$TOOLS/uv/bin/python" -m pip install --quiet --require-hashes --no-deps \
        -r requirements-tools.lock
}

# require_free_space run|dev: a full disk half way through says so in a hundred ways; this is one.
require_free_space() {
    local needed_mb=700 free_mb
    [ "$1" = run ] || needed_mb=1700
    free_mb=$(df -Pm "$ROOT" | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge "$needed_mb" ] ||
        refuse "the packages need $needed_mb MB in $ROOT and $free_mb MB are free; free some space and run it again"
}

# place_uv_cache: a home that is not there or cannot be written to is no reason to fail.
place_uv_cache() {
    local home_cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    if [ -z "${UV_CACHE_DIR:-}" ] && { [ -z "$home_cache" ] || ! mkdir -p "$home_cache/uv" 2>/dev/null; }; then
        export UV_CACHE_DIR=$TOOLS/cache/uv
    fi
}
