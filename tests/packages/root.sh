# A throw-away root in which a real systemd runs: for rpm/prove and debian/prove, which source this file.
# Needs root, and the Debian packages debootstrap, rpm and dpkg-dev. Everything lies in one directory and ends with it.

cache=${PACKAGES_CACHE:-/var/tmp/qubes-dispvm-packages}
root=$cache/root.$$
booted=

say() { printf '\n-- %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# expect WHAT COMMAND...: the command has to succeed.
expect() { local what=$1; shift; if "$@"; then printf 'ok      %s\n' "$what"; else fail "$what"; fi; }
refuse() { local what=$1; shift; if "$@"; then fail "$what"; else printf 'ok      %s\n' "$what"; fi; }
# eventually COMMAND...: within a minute.
eventually() { local i; for i in $(seq 600); do "$@" && return 0; sleep 0.1; done; return 1; }

# The base system, made once.
make_base() {
    mkdir -p "$cache"
    if ! [ -e "$cache/base.done" ]; then
        say "making the base system"
        rm -rf "$cache/base"
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,rpm bookworm "$cache/base" >"$cache/base.log" 2>&1 ||
            { tail -n 20 "$cache/base.log"; fail "debootstrap"; }
        touch "$cache/base.done"
    fi
    trap remove_root EXIT
    cp -a "$cache/base" "$root"
    chroot "$root" groupadd --system qubes
    chroot "$root" useradd -m -u 1000 -G qubes user
}

remove_root() {
    local code=$?
    if [ -n "$booted" ]; then
        [ "$code" = 0 ] || inside journalctl --no-pager -n 40 -u 'qubes*' -u host || :
        kill -KILL "$booted" || :
        wait 2>/dev/null || :
    fi
    rm -rf --one-file-system "$root"
    exit "$code"
}

# Starts systemd as process 1 of namespaces of its own, with the root as its root.
boot() {
    unshare --mount --pid --fork --uts --ipc --cgroup --kill-child bash -euc '
        cd "$1"
        mount --bind . . && cd "$1"
        mount -t proc proc proc
        mount -t sysfs -o ro sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        mount -t tmpfs -o mode=755 tmpfs dev
        for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
        mkdir dev/pts dev/shm; mount -t tmpfs tmpfs dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts; ln -s pts/ptmx dev/ptmx
        mount -t tmpfs -o mode=755 tmpfs run; mount -t tmpfs tmpfs tmp
        pivot_root . . && umount -l . && cd /
        exec env -i container=packages PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=no
    ' boot "$root" </dev/null >"$root.log" 2>&1 &
    booted=$!
    local i
    for i in $(seq 300); do
        first=$(pgrep -P "$booted" || :)
        if [ -n "$first" ] && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; then return; fi
        sleep 0.1
    done
    cat "$root.log"
    fail "systemd does not start"
}

# Runs a command in the booted root, as its root user.
inside() {
    nsenter -t "$first" --all --root -- env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

# Every file of the root with kind, mode, owner and content; what programs of the system keep for themselves is left out.
list_files() {
    # shellcheck disable=SC2016
    inside sh -c 'find / -xdev \( -path /var/lib/rpm -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
        -o -path /var/tmp -o -path /var/lib/systemd -o -path /opt -o -path /root -o -path /usr/lib/sysimage -o -path /etc/machine-id \) \
        -prune -o \( -type f -exec sha256sum {} + \) ; find / -xdev \( -path /var/lib/rpm -o -path /var/lib/dpkg -o -path /var/log \
        -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd -o -path /opt -o -path /root -o -path /usr/lib/sysimage \
        -o -path /etc/machine-id \) -prune -o -printf "%y %m %u:%g %p %l\n"' | sort
}

# is_as FILE WANT: mode and owner.
is_as() {
    local is
    is=$(inside stat -c '%a %U:%G' "$1") || return 1
    [ "$is" = "$2" ] || { echo "$1 is $is, not $2"; return 1; }
}

# open_report [ROOT]: the main job, by the files installed there: a report that somebody drafts in "work" is edited in a disposable.
open_report() {
    printf 'Status: draft\n' >"$root/opt/report.txt"
    inside env QUBES_HOST_INSTALLED="${1:-/}" /opt/qubes-host open --with 'sed -i s/draft/final/' /opt/report.txt >"$root.story" 2>&1 ||
        { cat "$root.story"; return 1; }
    grep -q 'Status: final' "$root/opt/report.txt"
}

# sizes FILE...: how big the executables are, and that they are position independent, relocated read-only, without a
# search path, and stripped.
check_executable() {
    local file=$1 headers
    headers=$(readelf -hldS --wide "$file")
    grep -q 'Type: *DYN' <<<"$headers" || fail "$file is not position independent"
    grep -q GNU_RELRO <<<"$headers" || fail "$file has no RELRO"
    refuse "$(basename "$file"): no search path" grep -qE 'RPATH|RUNPATH' <<<"$headers"
    ! grep -qE '\.symtab|\.debug_(info|line|abbrev)' <<<"$headers" || fail "$file is not stripped"
    ! grep -q 'GNU_STACK.*RWE' <<<"$headers" || fail "$file has an executable stack"
    printf 'size    %-28s %5d KiB\n' "$(basename "$file")" "$(($(stat -c %s "$file") / 1024))"
}
