# Chromium for the browser tests: Debian's package; Ubuntu's is only a pointer to a snap.
# shellcheck shell=bash

# browser_is_there: one that the tests will find (tests/support/browser.py reads the same stamp).
browser_is_there() {
    [ -f "$STAMPS/browser" ] && [ -x "$(cat "$STAMPS/browser")" ]
}

# remember_browser: stamp the first that works; fails if there is none.
remember_browser() {
    local candidate path
    for candidate in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome "$TOOLS"/playwright/chromium*/*/*hell; do
        path=$(command -v "$candidate") || continue
        # Ubuntu's chromium-browser is a script that asks for the snap: only a real one prints a version.
        if timeout 20 "$path" --version >>"$LOG" 2>&1 </dev/null; then
            printf '%s\n' "$path" >"$STAMPS/browser"
            return 0
        fi
    done
    return 1
}

# install_browser: Debian's package, else the build that Playwright fetches.
install_browser() {
    local policy
    ! remember_browser || return 0
    policy=$(apt-cache policy chromium 2>/dev/null) || policy=
    case $policy in
        '' | *'Candidate: (none)'* | *snap*) ;;
        *)
            install_debian_packages "to test pages in a browser" chromium
            remember_browser || refuse "Debian's chromium does not start (log: $LOG)"
            return 0 ;;
    esac
    say "this system packages Chromium only as a snap; fetching Playwright's build into .tools/"
    logged "fetching a browser (sudo snap install chromium is another way to get one)" \
        env PLAYWRIGHT_BROWSERS_PATH="$TOOLS/playwright" \
        "$VENV/bin/python" -m playwright install --only-shell chromium
    remember_browser || refuse "the fetched browser does not start; run: sudo .venv/bin/playwright install-deps chromium"
}
