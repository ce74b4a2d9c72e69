#!/bin/sh
# Told of a run that has failed; the event is on standard input as JSON.
echo "$SVD_JOB: run $SVD_RUN $SVD_RESULT, exit $SVD_EXIT: $SVD_MESSAGE" >> told.txt
