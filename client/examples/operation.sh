#!/bin/sh
# How a service is looked after, with commands that may as well be typed: a queue that is halted for a while, what was
# used, what was said.
#
#     autobots up --offline &
#     client/examples/operation.sh
#
# `autobots help COMMAND` tells the rest of each; all of them are routes of the HTTP gateway too.
set -eu
hello=$(dirname "$0")/hello.yaml
user=${AUTOBOTS_USER:-default}

echo '--- A message, and its answer.'
autobots submit -w "$hello" -s operation 'Good morning, everybody.'

echo '--- No more jobs of this user are begun; without --of it would be those of all users.'
autobots queues pause default 'new prices from noon on' --of "$user"
trap 'autobots queues resume default --of "$user"' EXIT # also if something fails on the way

echo '--- They are taken all the same, and wait. Why this one does:'
job=$(autobots submit -w "$hello" -s operation --detach 'Is anybody there?')
autobots show "$job"

echo '--- What waits in each pool, and who halted it:'
autobots queues

echo '--- It goes on; nothing was lost.'
trap - EXIT
autobots queues resume default --of "$user"
autobots watch "$job"

echo '--- What that used: in all, and for each agent.'
autobots usage -u "$user" --since 1d
autobots usage -u "$user" --since 1d --by agent

echo '--- What was said. The index is a moment behind: status tells how far.'
until autobots status | grep -q 'unindexed 0'; do sleep 0.1; done
autobots search everybody
