# Progress lines, the log, and one plain line when something cannot be done.
# shellcheck shell=bash

said_something=no

# say TEXT: one progress line.
say() {
    said_something=yes
    printf 'bootstrap: %s\n' "$1"
}

# refuse TEXT: the one line that says what to do, then exit 2.
refuse() {
    printf 'bootstrap: %s\n' "$1" >&2
    exit 2
}

# logged WHAT COMMAND...: run it with its output in the log; explain and exit 2 if it fails.
logged() {
    local what=$1
    shift
    printf '\n$ %s\n' "$*" >>"$LOG"
    if ! "$@" >>"$LOG" 2>&1 9>&- </dev/null; then
        refuse "$what failed: $(explain_failure)"
    fi
}

# explain_failure: what to do, judged by what the last command in the log printed.
explain_failure() {
    local tail
    tail=$(tac "$LOG" | sed '/^\$ /q' | tac)
    case $tail in
        *'No space left'* | *'not enough free space'* | *"don't have enough free space"* | *'os error 28'*)
            echo "the disk is full; free some space and run it again" ;;
        *'Could not resolve'* | *'Temporary failure in name resolution'* | *'Network is unreachable'* | \
        *'dns error'* | *'Failed to establish a new connection'* | *'error sending request'* | *'Connection refused'* | \
        *'ENOTFOUND'* | *'ECONNREFUSED'* | *'EAI_AGAIN'* | *'timed out'* | *'Unable to connect'* | *'Failed to fetch'*)
            echo "no way to the package servers; check the network, or name a mirror in PIP_INDEX_URL or UV_DEFAULT_INDEX (log: $LOG)" ;;
        *'Could not get lock'* | *'is another process using it'*)
            echo "another package installation is running; wait for it to end and run it again" ;;
        *'do not match'*'hash'* | *'ash mismatch'* | *'HASHES'*)
            echo "a downloaded package is not the one in the lock file; check the mirror (log: $LOG)" ;;
        *'certificate'* | *'CERTIFICATE'*)
            echo "the server's certificate is not trusted; name your authority's file in SSL_CERT_FILE (log: $LOG)" ;;
        *'Packages need to be removed but remove is disabled'*)
            echo "it would remove packages that this machine has; install them by hand: apt-get install $missing" ;;
        *'Unable to locate package'*)
            echo "this release of Debian or Ubuntu lacks a package; Debian 12 or Ubuntu 24.04 and later have them all (log: $LOG)" ;;
        *)
            echo "$(printf '%s\n' "$tail" | grep -v '^ *$' | tail -n 1) (log: $LOG)" ;;
    esac
}
