# Sourced by the scripts here: what they need from the machine, installed only if missing.
# Knows no address: packages come from wherever this machine's apt, pip and go are configured to take them.

shopt -s inherit_errexit   # a failure inside $(…) is a failure

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/bundle-dev   # slow outputs, keyed by their recipe, outside the checkout
VENV=$ROOT/.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $1"; exit "${2:-1}"; }

# as_root COMMAND…: run it as root, by sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root or sudo for: $*" 77
    fi
}

# quietly COMMAND…: its output is shown only if it fails.
quietly() {
    local log rc=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { say "failed ($rc): $*"; cat "$log" >&2; }
    rm -f "$log"
    return "$rc"
}

# key_of TEXT…: a short cache key for a recipe.
key_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# apt_lists: refresh the package lists, once a process, only when something is about to be taken from them.
apt_lists() {
    [ -z "${APT_LISTS_FRESH:-}" ] || return 0
    say "apt: refreshing the package lists"
    quietly as_root apt-get update
    APT_LISTS_FRESH=1
}

# need_packages NAME…: install the Debian packages that are missing.
need_packages() {
    local name missing=()
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "needs ${missing[*]}, and this machine has no apt-get" 77
    apt_lists
    say "apt: installing ${missing[*]}"
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# find_python: the first interpreter >= 3.11 that can make a virtual environment.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" /usr/bin/python3 python3.13 python3.12 python3.11; do
        "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$candidate"
        return 0
    done
    return 1
}

# need_venv run|dev: .venv holds this checkout, editable, with what it needs to run or to be developed.
need_venv() {
    local extra='' python stamp
    [ "$1" = run ] || extra='[dev]'
    python=$(find_python) || { need_packages python3 python3-venv; python=$(find_python); } \
        || die "no python3 >= 3.11 with venv on this machine" 77

    exec 9>"$ROOT/.venv.lock"   # two scripts at once: the second waits and finds it done
    flock 9
    # Made anew when the checkout moved, the interpreter changed or the project's own table did (not a tool's setting).
    stamp=$(key_of "$ROOT" "$("$python" -VV)" "$(sed -n '/^\[build-system\]/,/^\[tool/p' "$ROOT/pyproject.toml")")
    if [ "$(cat "$VENV/.made-dev" 2>/dev/null)" != "$stamp" ] && [ "$(cat "$VENV/.made-$1" 2>/dev/null)" != "$stamp" ]; then
        say "venv: making .venv ($("$python" -V), bundler$extra)"
        [ -x "$VENV/bin/python" ] && [ "$("$VENV/bin/python" -VV 2>/dev/null)" = "$("$python" -VV)" ] \
            || { rm -rf "$VENV"; quietly "$python" -m venv "$VENV"; }
        quietly "$VENV/bin/python" -m pip install --disable-pip-version-check -q -e "$ROOT$extra"
        rm -f "$VENV"/.made-*
        printf '%s\n' "$stamp" >"$VENV/.made-$1"
    fi
    exec 9>&-
}

# unpacked PACKAGE: the folder with the files of a Debian package. Unpacked into the cache, not installed: the
# installation of a server would start it on this machine.
unpacked() {
    local folder=$CACHE/unpacked/$1 scratch
    if [ ! -d "$folder" ]; then
        apt_lists
        say "apt: unpacking $1 into $folder"
        scratch=$(mktemp -d)
        (cd "$scratch" && quietly apt-get -o APT::Sandbox::User=root download "$1" && dpkg-deb -x ./*.deb root) \
            || die "could not get $1"
        mkdir -p "$CACHE/unpacked"
        chmod 755 "$scratch/root"
        mv -T "$scratch/root" "$folder" 2>/dev/null || [ -d "$folder" ] || die "could not unpack $1"
        rm -rf "$scratch"
    fi
    printf '%s\n' "$folder"
}

# need_registry: REGISTRY is Debian's docker-registry.
need_registry() { REGISTRY=$(unpacked docker-registry)/usr/bin/docker-registry; }
