#!/bin/sh
# A worker for `troupe consume --exec`: appends each record's line to a file.
#
#     troupe consume --bootstrap-server localhost:9092 --topic orders --group archive \
#         --exec 'sh examples/workers/append.sh /var/archive'
#
# Each worker has a file of its own, named by its number. A record is answered for when it is on the disk. One that was written, and
# not answered for because something died in between, is written again: at least once.
set -eu
folder=${1:?which folder?}
file=$folder/worker-$TROUPE_WORKER.ndjson

# printf, for echo would read the backslashes in there.
while IFS= read -r line; do
    if printf '%s\n' "$line" >>"$file" && sync "$file"; then
        echo ok
    else
        echo "error $file cannot be written"
    fi
done
