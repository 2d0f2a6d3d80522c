complete -c qvm-open-in-vm -l view-only -d 'Nothing comes back'
complete -c qvm-open-in-vm -l help -d 'A line of usage'
complete -c qvm-open-in-vm -n 'test (count (commandline -opc | string match -v -- "-*")) -eq 1' -f -a '@dispvm @default'
