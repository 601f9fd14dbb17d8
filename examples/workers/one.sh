#!/bin/sh
# A worker for `troupe consume --exec` that takes one record and ends, as a command of xargs does. Another one takes its place at once.
#
#     troupe consume --bootstrap-server localhost:9092 --topic orders --group hook \
#         --exec 'sh examples/workers/one.sh ./hook' --order unordered --concurrency 4
#
# The command gets the record's line on its stdin. Its status says whether that is done. Starting two processes for each record costs a
# few milliseconds: a worker that stays is a hundred times faster.
IFS= read -r line || exit 0

# Only the answer goes to stdout, so the command's own output goes to stderr.
if printf '%s\n' "$line" | "$@" >&2; then
    echo ok
else
    echo "error $* ended with status $?"
fi
