# Shared by tools/demo, tools/test and .ci/run. To be sourced.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

# Mesa's EGL complains on stderr when this is unset.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}"

need_rust() {
    if ! command -v cargo >/dev/null; then
        say "cargo is missing: install Rust 1.88 or later, see https://rustup.rs"
        exit 1
    fi
}

features=onesum/host,onesum/conformance,onesum/tuning

# What tests and tools run. All packages at once, since cargo builds wgpu and naga again for others with other features.
build_all() {
    say "building"
    cargo build --quiet --workspace --lib --bins --tests --features "$features"
    built="${CARGO_TARGET_DIR:-target}/debug"
}

# $1: what for; the rest: packages of Debian. Installs them where that is allowed, names them where it is not.
install_packages() {
    local what="$1" sudo=""
    shift
    if ! command -v apt-get >/dev/null; then
        say "$what: install what Debian calls $*"
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        if ! can_install; then
            say "$what: run  sudo apt-get install $*  and try again"
            exit 1
        fi
        sudo="sudo"
    fi
    say "$what: installing $*"
    # One after another: apt waits for nobody, and two checks may run at once.
    (
        flock 9
        $sudo apt-get update -q >&2
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
    ) 9>"${TMPDIR:-/tmp}/onesum-install-$(id -u).lock"
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# With an adapter, nothing. With none, the software Vulkan driver: installed where that is allowed, named where not. A CPU through GL
# counts as none where the driver can be installed: without subgroups, f16 and 64-bit integers most variants do not run on it.
# $1: the built program, which knows best what there is.
need_adapter() {
    local adapters what="no adapter that can compute"
    adapters="$("$1" info 2>/dev/null | grep -E '^[0-9]+: ' || true)"
    if [ -n "$adapters" ]; then
        if grep -qv ', cpu, gl,' <<<"$adapters"; then return; fi
        what="no adapter but a CPU through GL"
        if ! can_install; then
            say "$what: going on with it"
            return
        fi
    elif ! command -v apt-get >/dev/null; then
        say "$what: install a Vulkan driver; Mesa's lavapipe runs on any CPU"
        exit 1
    fi
    install_packages "$what" mesa-vulkan-drivers libvulkan1
    if ! "$1" info >/dev/null 2>&1; then
        say "still no adapter; this is what onesum info says:"
        "$1" info
        exit 1
    fi
}

# Node, and what tools/web takes of npm.
need_node() {
    if ! command -v npm >/dev/null; then
        install_packages "Node or npm is missing" nodejs npm
    fi
    local version
    version="$(node --version)"
    if [ "$(echo "${version#v}" | cut -d. -f1)" -lt 18 ]; then
        say "Node is $version: 18 or later is needed, see https://nodejs.org"
        exit 1
    fi
    if ! cmp -s tools/web/package-lock.json tools/web/node_modules/.of; then
        npm ci --loglevel error --no-fund --no-audit --prefix tools/web
        cp tools/web/package-lock.json tools/web/node_modules/.of
    fi
}

# A Chromium for tests of the page. The variable CHROMIUM names another.
need_chromium() {
    local name
    for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return; fi
    done
    install_packages "Chromium is missing" chromium
}
