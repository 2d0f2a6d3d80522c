# qvm-open-in-dvm and qvm-open-in-vm of the package qubes-dispvm-vm come before those of qubes-core-agent.
case ":$PATH:" in
    *:/usr/lib/qubes-dispvm/bin:*) ;;
    *) PATH=/usr/lib/qubes-dispvm/bin:$PATH ;;
esac
