# Debian packages: which are needed, which are missing, and how they come without starting a service.
# shellcheck shell=bash

# WeasyPrint draws the invoices with Pango; a font to fall back on keeps it from stopping on an unknown glyph.
PACKAGES_PDF=(libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz0b libharfbuzz-subset0 fonts-dejavu-core
    fonts-droid-fallback fonts-nanum)
# Japanese in two weights. Not in every release (Ubuntu 22.04 lacks it): without it the fallback font prints Japanese.
PACKAGES_OPTIONAL=(fonts-morisawa-bizud-gothic)
# mysqlclient has no binary package: it is built here.
PACKAGES_BUILD=(gcc libc6-dev pkg-config libmariadb-dev)
# The servers that the tests start for themselves, and the tools that look into PDFs.
PACKAGES_TEST=(mariadb-server-core redis-server postgresql poppler-utils)
# Services that those packages bring along and that nobody asked for.
UNWANTED_SERVICES=(redis-server postgresql)

is_debian() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null
}

# needed_debian_packages run|dev
needed_debian_packages() {
    printf '%s\n' "${PACKAGES_PDF[@]}" "${PACKAGES_BUILD[@]}"
    optional_debian_packages
    python_debian_packages
    if [ "$1" = dev ]; then
        printf '%s\n' "${PACKAGES_TEST[@]}"
    fi
}

# optional_debian_packages: those that this machine has not been set up without.
optional_debian_packages() {
    local name
    for name in "${PACKAGES_OPTIONAL[@]}"; do
        [ -e "$STAMPS/without-$name" ] || printf '%s\n' "$name"
    done
}

# leave_out WHY NAME...: optional packages that cannot be had are not asked for again.
leave_out() {
    local why=$1 name
    shift
    for name in "$@"; do
        say "going on without $name: $why"
        : >"$STAMPS/without-$name"
        missing=$(printf '%s' " $missing " | sed "s/ $name / /; s/^ *//; s/ *\$//")
    done
}

# missing_optional: the optional ones among the missing.
missing_optional() {
    local name
    for name in "${PACKAGES_OPTIONAL[@]}"; do
        case " $missing " in *" $name "*) printf '%s\n' "$name" ;; esac
    done
}

# missing_debian_packages run|dev: on one line, empty if there are none (or if this is not Debian).
missing_debian_packages() {
    is_debian || return 0
    local needed installed
    needed=$(needed_debian_packages "$1" | sort -u)
    # dpkg-query fails as soon as one of them is unknown: that is an answer, not an error.
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $needed 2>/dev/null |
        sed -n 's/ installed$//p' | sort -u) || true
    comm -23 <(printf '%s\n' "$needed") <(printf '%s\n' "$installed") | paste -sd ' ' -
}

# install_debian_packages WHY "NAMES": through apt-get, as root or with sudo; removes nothing, starts no service.
install_debian_packages() {
    local why=$1 how=
    missing=$2
    [ -n "$missing" ] || return 0
    local -a as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        # shellcheck disable=SC2046
        can_sudo || leave_out "ask an administrator to install it" $(missing_optional)
        [ -n "$missing" ] || return 0
        find_sudo
        as_root=("${SUDO[@]}")
        how=" with sudo"
    fi
    say "installing Debian packages$how ($why): $missing"
    # sudo forgets the proxies.
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"}
        ${https_proxy:+https_proxy="$https_proxy"} apt-get -q -y -o DPkg::Lock::Timeout=120)
    logged "apt-get update" "${apt[@]}" update
    local name
    for name in $(missing_optional); do
        apt-cache show "$name" >/dev/null 2>&1 || leave_out "this release does not have it" "$name"
    done
    [ -n "$missing" ] || return 0
    forbid_services "${as_root[@]}"
    # shellcheck disable=SC2086
    logged "apt-get install" "${apt[@]}" install --no-install-recommends --no-remove $missing
    allow_services
    disable_new_services "${as_root[@]}"
}

# can_sudo: whether packages can be installed at all, if need be by asking for a password.
can_sudo() {
    command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

# find_sudo: sets SUDO, or says what an administrator has to run.
find_sudo() {
    local by_hand="ask an administrator for: apt-get install --no-install-recommends $missing"
    command -v sudo >/dev/null || refuse "Debian packages are missing and there is no sudo here; $by_hand"
    SUDO=(sudo -n)
    sudo -n true 2>/dev/null && return 0
    [ -t 0 ] || refuse "Debian packages are missing and sudo wants a password; $by_hand"
    say "sudo asks for your password, to install Debian packages"
    sudo -v || refuse "Debian packages are missing and sudo was refused; $by_hand"
}

# A policy file is Debian's own way to keep package scripts from starting services. An existing one is left alone.
POLICY=${BOOTSTRAP_POLICY_FILE:-/usr/sbin/policy-rc.d}
POLICY_MARK='# written by billing-worker bin/bootstrap, for the length of one apt-get install'
policy_owner=()

forbid_services() {
    policy_owner=("$@")
    if [ -e "$POLICY" ] && ! grep -qF "$POLICY_MARK" "$POLICY"; then
        return 0
    fi
    trap allow_services EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" | "$@" tee "$POLICY" >/dev/null
    "$@" chmod 755 "$POLICY"
}

allow_services() {
    if [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then
        "${policy_owner[@]}" rm -f "$POLICY"
    fi
    trap - EXIT INT TERM HUP
}

# disable_new_services [sudo...]: what has just been installed shall not start at the next boot either.
disable_new_services() {
    local service
    command -v systemctl >/dev/null || return 0
    for service in "${UNWANTED_SERVICES[@]}"; do
        case " $missing " in
            *" $service "*) logged "systemctl disable $service" "$@" systemctl --quiet disable "$service" ;;
        esac
    done
}
