# A throw-away root in which a real systemd runs: for rpm/prove and debian/prove, which source this file.
# Needs root, and a Debian with a Rust toolchain; other packages it installs. Everything lies in one directory.

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

tools=(binutils cpio debhelper debootstrap debugedit dpkg-dev elfutils gcc git libc6-dev libclang-14-dev libxen-dev procps rpm)
if ! dpkg -s "${tools[@]}" >/dev/null 2>&1; then
    say "installing what builds packages"
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${tools[@]}"; } >/dev/null || fail "apt-get install"
fi

# The base system, made once: this machine's Debian, with the libraries of Xen that the programs are built with.
make_base() {
    local library suite include base old pid
    library=$(realpath "$(gcc -print-file-name=libxenctrl.so)")
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    include=systemd,systemd-sysv,dbus,procps,rpm,dnf,desktop-file-utils,libglib2.0-bin,$(dpkg -S "$library" | sed 's/:.*//')
    base=$cache/base.$(cksum <<<"$suite $include" | cut -d ' ' -f 1)
    # Of runs that were killed, and of other lists.
    for old in "$cache"/root.* "$cache"/base.*; do
        case $old in
            "$cache"/root.*)
                pid=${old#"$cache/root."}
                [ -d "/proc/${pid%%.*}" ] || rm -rf --one-file-system "$old"
                ;;
            "$base"*) ;;
            *) rm -rf --one-file-system "$old" ;;
        esac
    done
    if ! [ -e "$base.done" ]; then
        say "making the base system"
        rm -rf "$base"
        debootstrap --variant=minbase --include="$include" "$suite" "$base" >"$base.log" 2>&1 ||
            { tail -n 20 "$base.log"; fail "debootstrap"; }
        touch "$base.done"
    fi
    trap remove_root EXIT
    cp -a "$base" "$root"
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
    rm -rf --one-file-system "$root" "$root".*
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

# run_page PAGE GATE: the commands that a page of the documentation has for it (docs/develop.md), in the booted root.
run_page() {
    mkdir -p "$root/opt/page"
    tests/docs/commands "$1" "$2" >"$root/opt/page.sh"
    inside env -C /opt/page PATH=/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive bash -euo pipefail /opt/page.sh \
        >"$root.page" 2>&1 || { cat "$root.page"; fail "a command of $1"; }
    printf 'ok      the commands of %s for %s\n' "$1" "$2"
}

# build_page PAGE GATE DIRECTORY: the commands with which a page builds packages, without a network.
build_page() {
    directory=$3 PATH=$cache/bin:$PATH bash -euo pipefail -c "$(tests/docs/commands "$1" "$2")" >"$cache/page.log" 2>&1 ||
        { tail -n 30 "$cache/page.log"; fail "a command of $1"; }
    printf 'ok      the commands of %s for %s\n' "$1" "$2"
}

# stand_in PROGRAM WORD...: for build_page, the program with these words before its own, and no network.
stand_in() {
    local program
    program=$(command -v "$1")
    shift
    mkdir -p "$cache/bin"
    { printf '#!/bin/bash\nexec unshare --net'; printf ' %q' "$program" "$@"; printf ' "$@"\n'; } >"$cache/bin/$(basename "$program")"
    chmod 755 "$cache/bin/$(basename "$program")"
}

# Every file of the root with kind, mode, owner and content; what programs of the system keep for themselves is left out.
list_files() {
    # shellcheck disable=SC2016
    inside sh -c 'find / -xdev \( -path /var/lib/rpm -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
        -o -path /var/tmp -o -path /var/lib/systemd -o -path /opt -o -path /root -o -path /usr/lib/sysimage -o -path /etc/machine-id -o -path /var/lib/dnf \) \
        -prune -o \( -type f -exec sha256sum {} + \) ; find / -xdev \( -path /var/lib/rpm -o -path /var/lib/dpkg -o -path /var/log \
        -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd -o -path /opt -o -path /root -o -path /usr/lib/sysimage \
        -o -path /etc/machine-id -o -path /var/lib/dnf \) -prune -o -printf "%y %m %u:%g %p %l\n"' | sort
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

# unpack ARCHIVE: the source, where both kinds of package are built, so that one finds what the other has compiled.
# The bytes and times of one commit are always the same.
unpack() {
    rm -rf "$cache/build"
    mkdir -p "$cache/build"
    tar -x -z -C "$cache/build" -f "$1"
}

# check_executable FILE KIB [LIBRARY...]: position independent, relocated before it starts and read-only from then on,
# without a search path and an executable stack, stripped, no bigger than KIB, linked with nothing but these libraries.
check_executable() {
    local file=$1 limit=$2 headers size needed
    shift 2
    headers=$(readelf -hldS --wide "$file")
    grep -q 'Type: *DYN' <<<"$headers" || fail "$file is not position independent"
    grep -q GNU_RELRO <<<"$headers" || fail "$file has no RELRO"
    grep -qE 'FLAGS.*(BIND_)?NOW' <<<"$headers" || fail "$file is relocated while it runs"
    ! grep -qE 'RPATH|RUNPATH' <<<"$headers" || fail "$file has a search path"
    ! grep -qE '\.symtab|\.debug_(info|line|abbrev)' <<<"$headers" || fail "$file is not stripped"
    ! grep -q 'GNU_STACK.*RWE' <<<"$headers" || fail "$file has an executable stack"
    needed=$(sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' <<<"$headers" | sort | paste -sd ' ')
    [ "$needed" = "$*" ] || fail "$file is linked with \"$needed\", not \"$*\""
    size=$(($(stat -c %s "$file") / 1024))
    [ "$size" -le "$limit" ] || fail "$file has $size KiB, more than $limit"
    printf 'ok      %-20s PIE, RELRO, no search path, stripped, %s, %d KiB of %d\n' "$(basename "$file")" "${needed:-static}" "$size" "$limit"
}

# build_id FILE: the name under which its debug information is found.
build_id() { readelf -n "$1" | sed -n 's/.*Build ID: \(..\)\(.*\)/\1\/\2/p'; }

# What desktops read, when the package for them is installed: with the programs that read it, or by the place.
prove_desktop() {
    local entry file
    for entry in open view; do
        expect "its entry \"$entry\" is valid" inside desktop-file-validate "/usr/lib/qubes-dispvm/share/applications/qubes-dispvm-$entry.desktop"
        expect "PCManFM's entry \"$entry\"" inside test -s "/usr/share/file-manager/actions/qubes-dispvm-$entry.desktop"
    done
    for file in nautilus-python/extensions/qvm_dispvm_nautilus.py caja-python/extensions/qvm_dispvm_caja.py kio/servicemenus/qvm-dispvm.desktop kservices5/ServiceMenus/qvm-dispvm.desktop; do
        expect "$file is there" inside test -s "/usr/share/$file"
    done
    expect "each starts the opener of the package" entries_start_ours
    expect "Thunar's menu has both entries" in_thunar
    expect "and what was there" inside grep -q Mine /etc/xdg/Thunar/uca.xml
    expect "it takes what nothing else takes" grep -q '^Default.*qubes-dispvm-open.desktop' <(gio_mime)
    inside sh -c '[ ! -e /usr/share/applications/mimeinfo.cache ] || cp -a /usr/share/applications/mimeinfo.cache /tmp
        printf "[Desktop Entry]\nType=Application\nName=Editor\nExec=/bin/true %%f\nMimeType=text/plain;\n" >/usr/share/applications/zz-editor.desktop
        update-desktop-database /usr/share/applications'
    expect "with another application it is nothing's default" grep -q '^Default.*zz-editor.desktop' <(gio_mime)
    expect "but offered" grep -q 'qubes-dispvm-view.desktop' <(gio_mime)
    expect "a program with disposables opens files in them" grep -q '^Default.*qvm-open-in-dvm.desktop' <(gio_mime with-disposables)
    inside sh -c 'cd /usr/share/applications; rm zz-editor.desktop mimeinfo.cache; [ ! -e /tmp/mimeinfo.cache ] || mv /tmp/mimeinfo.cache .'
    expect "and links" grep -q '^Default.*qvm-open-in-dvm.desktop' <(gio_mime with-disposables x-scheme-handler/https)
}

in_thunar() { [ "$(inside grep -c '/usr/lib/qubes-dispvm/bin/qvm-open-in-dvm' /etc/xdg/Thunar/uca.xml)" = 2 ]; }

# gio_mime [with-disposables [TYPE]]: what opens files of a type.
gio_mime() {
    # shellcheck disable=SC2016
    inside env PATH=/usr/lib/qubes-dispvm/bin:/usr/bin:/bin sh -c '. /etc/profile.d/qubes-dispvm-desktop.sh; exec $1 gio mime "$2"' _ "${1-}" "${2-text/plain}"
}

entries_start_ours() {
    local file
    for file in $(inside grep -rlE 'qvm-open-in-dvm( |")' /usr/lib/qubes-dispvm/share /usr/share/file-manager /usr/share/kio /usr/share/nautilus-python /usr/share/caja-python |
        grep dispvm); do
        ! inside grep -E 'Exec=|PROGRAM =' "$file" | grep -v /usr/lib/qubes-dispvm/bin/qvm-open-in-dvm || { echo "$file"; return 1; }
    done
    inside test -x /usr/lib/qubes-dispvm/bin/qvm-open-in-dvm
}
