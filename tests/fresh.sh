#!/bin/bash
# fresh.sh [--without-sys] [DIR]: proves the README's two commands on a new user's machine: a bare Debian 12 (minbase plus git,
# make and ca-certificates) in which the current commit is cloned, then `make demo`, `make demo` again (built by
# then), and `make check`. Prints what each took; exits non-zero if one failed. Uncommitted changes do not take part.
#
# --without-sys: the machine has no /sys, and so no control groups, as some containers.
#
# Needs root and debootstrap. DIR keeps the bare system for the next run; without it all is made and removed again.
# The machine inside has its own mount and process namespaces and a pivoted root: unlike a chroot, that allows user
# namespaces in it. The mirror and proxies are this machine's; NODE_EXTRA_CA_CERTS, SSL_CERT_FILE and
# npm_config_registry are taken over from the environment.
set -eu
cd "$(dirname "$0")/.."

fail() { echo "fresh.sh: $1" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root (namespaces, debootstrap)"
for tool in debootstrap unshare pivot_root git; do
    command -v "$tool" >/dev/null || fail "needs $tool; on Debian: apt-get install debootstrap util-linux git"
done

sys=yes
[ "${1:-}" != --without-sys ] || { sys=no; shift; }
keep=${1:-}
work=$(readlink -m "${keep:-$(mktemp -d -t autobots-fresh-XXXXXX)}")
base=$work/base machine=$work/machine
clean_up() {
    rm -rf --one-file-system "$machine"
    [ -n "$keep" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT

# The first Debian mirror apt knows, in either format of its sources.
mirror() {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '$1 == "URIs:" { print $2; exit }'
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p'
}

if [ ! -e "$base/complete" ]; then
    from=$(mirror | sed -n 1p)
    [ -n "$from" ] || fail "found no mirror in /etc/apt"
    echo "== making a bare Debian 12 in $base"
    rm -rf --one-file-system "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$base" "$from" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed"; }
    touch "$base/complete"
fi

rm -rf --one-file-system "$machine"
cp -a --reflink=auto "$base" "$machine"
cp /etc/resolv.conf /etc/hosts "$machine/etc/"
apt-config dump 2>/dev/null | grep -E '^Acquire::https?::Proxy ' >"$machine/etc/apt/apt.conf.d/90proxy" || true
git bundle create -q "$machine/source.bundle" HEAD

inside=(HOME=/root USER=root TERM=dumb LANG=C.UTF-8
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in http_proxy https_proxy no_proxy npm_config_registry CI; do
    [ -z "${!name:-}" ] || inside+=("$name=${!name}")
done
for name in NODE_EXTRA_CA_CERTS SSL_CERT_FILE; do
    [ -r "${!name:-}" ] || continue
    cp "${!name}" "$machine/etc/ssl/$name.pem"
    inside+=("$name=/etc/ssl/$name.pem")
done

cat >"$machine/prove" <<'PROVE'
#!/bin/bash
set -u
cd "$HOME" && git -c advice.detachedHead=false clone -q /source.bundle autobots && cd autobots || exit 1
status=0 times=
step() { # NAME COMMAND…
    local name=$1 began=$SECONDS code=0
    shift
    echo "== $name"
    "$@" </dev/null || { code=$?; status=1; }
    times+="$(printf '%-12s %4d s  exit %d' "$name" $((SECONDS - began)) "$code")"$'\n'
}
echo "== on a bare $(. /etc/os-release; echo "$PRETTY_NAME"), commit $(git rev-parse --short HEAD)"
step "make demo" make demo
step "demo again" make demo
step "make check" make check
printf '== %s\n' "on the fresh machine:"
printf '%s' "$times"
exit $status
PROVE

code=0
unshare --mount --pid --fork --kill-child bash -c '
    set -e
    machine=$1 sys=$2; shift 2
    mount --make-rprivate /
    mount --bind "$machine" "$machine"
    cd "$machine"
    mkdir -p .outside
    mount --rbind /dev dev
    mount -t proc proc proc
    [ "$sys" = no ] || mount --rbind /sys sys # with the control groups a machine has
    mount -t tmpfs tmpfs tmp
    pivot_root . .outside
    cd /
    umount -l /.outside
    exec env -i "$@" bash /prove' fresh "$machine" "$sys" "${inside[@]}" || code=$?
exit $code
