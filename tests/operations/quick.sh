#!/usr/bin/env bash
# The cheapest operation that keeps a journal.
IFS=. read -r run attempt _ <<<"$ORCHESTRA_ATTEMPT"
echo "S $run $attempt $$ ${EPOCHREALTIME/[.,]/}000" >>"$JOURNAL"
echo "000000"
echo "E $run $attempt $$ ${EPOCHREALTIME/[.,]/}000 7 0" >>"$JOURNAL"
