complete -c qvm-open-in-dvm -l view-only -d 'Nothing comes back'
complete -c qvm-open-in-dvm -l help -d 'A line of usage'
