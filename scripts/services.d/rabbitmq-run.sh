#!/usr/bin/env bash
# usage: rabbitmq-run.sh FOLDER PORT
# Runs a RabbitMQ broker in the foreground, on 127.0.0.1:PORT alone, with all that it keeps in
# FOLDER, and with its own name server beside it. Ends with the broker, or stops it when told to
# end (TERM, INT), or with its input where that is a pipe: with who started it. It takes the name
# server along. PORT + 20000 and PORT + 20001 are taken, too.
set -euo pipefail

folder=$1 port=$2
home=/usr/lib/rabbitmq/bin
mkdir -p "$folder"/{mnesia,log,home}
echo '[].' >"$folder/enabled_plugins"
echo "listeners.tcp.default = 127.0.0.1:$port" >"$folder/rabbitmq.conf"
# A home of its own keeps the cookie out of the user's.
export HOME=$folder/home RABBITMQ_NODENAME=otel-ml-$port@localhost \
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$((port + 20000)) \
    RABBITMQ_MNESIA_BASE=$folder/mnesia RABBITMQ_LOG_BASE=$folder/log \
    RABBITMQ_PID_FILE=$folder/beam.pid RABBITMQ_ENABLED_PLUGINS_FILE=$folder/enabled_plugins \
    RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf \
    ERL_CRASH_DUMP=$folder/erl_crash.dump ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((port + 20001)) \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'

# Not the one in /usr/sbin: that changes the user.
"$home/rabbitmq-server" </dev/null &
server=$!

stop() {
    trap - TERM INT
    kill "$server" 2>/dev/null || true
}
trap stop TERM INT
watcher=
if [[ -p /dev/stdin ]]; then
    # A background job has no input unless it is given one.
    { cat >/dev/null && kill "$$"; } <&0 &
    watcher=$!
fi
# A signal ends the first wait; the second one is for the broker's own end.
rc=0
wait "$server" || rc=$?
wait "$server" || rc=$?
[[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 || true
exit "$rc"
