# Entries of the package qubes-dispvm-vm-desktop are looked for last: they become nothing's default by themselves.
case ":${XDG_DATA_DIRS-}:" in
    *:/usr/lib/qubes-dispvm/share:*) ;;
    *) export XDG_DATA_DIRS="${XDG_DATA_DIRS:-/usr/local/share:/usr/share}:/usr/lib/qubes-dispvm/share" ;;
esac
