#!/bin/bash
# deps.sh GROUP…: makes sure that what the groups need is on this machine. Groups: build, sandbox, test, bench, page,
# browser (for the tests of make check only).
#
# It looks for the thing itself, not for a package's name, so whatever provides it is good; it installs (apt)
# only what is missing, and is silent and quick if nothing is. If it may not install, it prints the command
# that would and exits 1.
set -eu

# group | check | what | Debian package
table='
build | command | gcc | gcc libc6-dev
build | command | make | make
build | command | pkg-config | pkg-config
build | module | libzmq | libzmq3-dev
build | module | libczmq | libczmq-dev
build | module | sqlite3 | libsqlite3-dev
build | module | msgpack msgpack-c | libmsgpack-dev
build | module | libcurl | libcurl4-openssl-dev
build | module | jansson | libjansson-dev
build | module | yaml-0.1 | libyaml-dev
build | module | libsodium | libsodium-dev
build | module | libmicrohttpd | libmicrohttpd-dev
build | module | libseccomp | libseccomp-dev
sandbox | command | bwrap | bubblewrap
sandbox | file | /usr/bin/python3 | python3
test | command | bwrap | bubblewrap
test | module | cmocka | libcmocka-dev
test | file | /usr/bin/python3 | python3
test | python | pytest | python3-pytest
test | python | zmq | python3-zmq
test | python | msgpack | python3-msgpack
test | python | nacl | python3-nacl
test | python | jsonschema | python3-jsonschema
test | command | git | git
test | command | clang | clang
test | sanitizer | clang | libclang-rt-14-dev
test | command | clang-format | clang-format
test | command | cppcheck | cppcheck
test | command | strace | strace
bench | command | redis-server | redis-server
bench | module | hiredis | libhiredis-dev
page | command | node | nodejs
page | command | npm | npm
browser | command | chromium-headless-shell chromium chromium-browser google-chrome | chromium-headless-shell
'

have() { # CHECK WHAT…: true if any of WHAT is there
    local check=$1 what
    shift
    for what; do
        case $check in
        command) command -v "$what" >/dev/null && return ;;
        file) [ -x "$what" ] && return ;;
        module) command -v pkg-config >/dev/null && pkg-config --exists "$what" && return ;;
        python) case " $python_modules " in *" $what "*) return ;; esac ;;
        sanitizer) command -v "$what" >/dev/null &&
            compgen -G "$("$what" -print-resource-dir)/lib/linux/libclang_rt.fuzzer-*" >/dev/null && return ;;
        esac
    done
    return 1
}

[ $# -gt 0 ] || { echo "usage: deps.sh GROUP… (build, sandbox, test, bench, page, browser)" >&2; exit 2; }
for group; do
    case $group in
    build | sandbox | test | bench | page | browser) ;;
    *) echo "deps.sh: no group '$group'; there are build, sandbox, test, bench, page, browser" >&2; exit 2 ;;
    esac
done

# One start of Python answers for all its modules.
python_modules=
if [[ " $* " = *" test "* ]] && [ -x /usr/bin/python3 ]; then
    python_modules=$(/usr/bin/python3 -c '
import importlib.util as u
print(*[m for m in ("pytest", "zmq", "msgpack", "nacl", "jsonschema") if u.find_spec(m)])')
fi

missing=() packages=()
while IFS='|' read -r group check what package; do
    read -r group <<<"$group"; read -r check <<<"$check"; read -r package <<<"$package"
    [ -n "$group" ] && [[ " $* " = *" $group "* ]] || continue
    # shellcheck disable=SC2086 # both columns hold words
    if ! have "$check" $what; then
        missing+=("${what## }")
        packages+=($package)
    fi
done <<<"$table"
[ ${#packages[@]} -gt 0 ] || exit 0

# Without pkg-config no module could be looked for. A libcurl that is there, of whatever flavour, must stay:
# the flavours' development packages exclude each other.
if ! command -v pkg-config >/dev/null && command -v dpkg-query >/dev/null; then
    for flavour in gnutls nss openssl; do
        if dpkg-query -W -f '${Status}' "libcurl4-$flavour-dev" 2>/dev/null | grep -q ' installed$'; then
            packages=("${packages[@]/#libcurl4-openssl-dev/libcurl4-$flavour-dev}")
            break
        fi
    done
fi

install=(apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${packages[@]}")
give_up() {
    echo "deps.sh: missing: ${missing[*]}" >&2
    echo "deps.sh: $1; run this, then try again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
    exit 1
}

command -v apt-get >/dev/null || give_up "there is no apt-get here; these are the Debian names of what is needed"
as_root=(env DEBIAN_FRONTEND=noninteractive)
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || give_up "not root, and sudo wants a password"
    as_root=(sudo -n "${as_root[@]}")
fi
echo "deps.sh: installing ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=120 update && "${as_root[@]}" "${install[@]}"; } >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    give_up "apt-get failed (above)"
}
