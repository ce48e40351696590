# shellcheck shell=bash
# The product under check: started as a user without rights, watched through its JSON events, ended, cleaned away.
# A run has a NAME; its files are LAB_TMP/run.NAME.{events,log,pid,status}.

# Prefixes of a command: as LAB_USER, with no groups, no capabilities and nothing of this shell's environment; and as root with as little.
AS_USER=(
  setpriv --reuid "$LAB_UID" --regid "$LAB_UID" --clear-groups --bounding-set=-all --inh-caps=-all
  env -i PATH="$PATH" HOME=/run/home USER="$LAB_USER" LANG=C.UTF-8 XDG_RUNTIME_DIR="/run/user/$LAB_UID"
)
AS_ROOT=(env -i PATH="$PATH" HOME=/root LANG=C.UTF-8 XDG_RUNTIME_DIR=/run)

# as_user COMMAND…: for programs, not for functions of this shell.
as_user() { "${AS_USER[@]}" "$@"; }

# rumpusb ARGUMENT…: the command, as the user, to its end.
rumpusb() { as_user "$LAB_NODE" "$LAB_ROOT/bin/rumpusb.js" "$@"; }

# start [--root] [--stdin FILE] NAME ARGUMENT…: the command with its arguments in the background; a session of its own, so that it
# outlives the check. FILE: a FIFO that it reads.
start() {
  local prefix=("${AS_USER[@]}") base stdin=/dev/null
  if [ "$1" = --root ]; then
    prefix=("${AS_ROOT[@]}")
    shift
  fi
  if [ "$1" = --stdin ]; then
    stdin=$2
    shift 2
  fi
  base=$LAB_TMP/run.$1
  shift
  rm -f "$base".*
  : >"$base.events"
  # The inner shell replaces itself, so that the id is that of the command; the outer one waits for its status.
  # shellcheck disable=SC2016
  setsid bash -c '(echo "$BASHPID" >"$0.pid"; exec "$@" >"$0.events" 2>"$0.log"); echo $? >"$0.status"' \
    "$base" "${prefix[@]}" "$LAB_NODE" "$LAB_ROOT/bin/rumpusb.js" "$@" <>"$stdin" >/dev/null 2>&1 9>&- &
  wait_for 5 "process of run ${base##*.}" test -s "$base.pid"
}

# start_run [--root] NAME ARGUMENT…: `rumpusb run --json ARGUMENT…`, up to its ready event.
start_run() {
  local root=()
  if [ "$1" = --root ]; then root=(--root); shift; fi
  start "${root[@]}" "$1" run --json "${@:2}"
  wait_event "$1" '.event == "ready"'
}

# events NAME FILTER: the events that fit a jq condition, one a line. A line that is still being written is left out.
events() { grep '}$' "$LAB_TMP/run.$1.events" | jq -c "select($2)"; }

# wait_event NAME FILTER [COUNT]: until COUNT events (default 1) fit; fails at once when the process has ended without.
wait_event() {
  local name=$1 filter=$2 count=${3:-1} seen="" now=""
  has_events() { [ "$(events "$name" "$filter" | wc -l)" -ge "$count" ]; }
  # To look at what is as it was would take time from the process that is waited for: a guest has one processor.
  has_new_events() {
    IFS= read -r -d "" now <"$LAB_TMP/run.$name.events"
    [ "$now" != "$seen" ] && seen=$now && has_events
  }
  has_events_or_ended() { ended "$name" || has_new_events; }
  wait_for 20 "event $filter of run $name" has_events_or_ended
  has_events || fail "run $name ended with status $(cat "$LAB_TMP/run.$name.status") before event $filter: $(tail -n 2 "$LAB_TMP/run.$name.log")"
}

# field NAME FILTER KEY: of the last event that fits; there must be one.
field() {
  local event
  event=$(events "$1" "$2" | tail -n 1)
  [ -n "$event" ] || fail "run $1 has no event $2"
  jq -r ".$3" <<<"$event"
}

# uri NAME NODE: where the node's NBD export is.
uri() { field "$1" ".event == \"link\" and .node == \"$2\"" uri; }

# rump_pid NAME: the driver's process, which is another one after a restart.
rump_pid() { field "$1" '.event == "device" or .event == "restart" or .event == "replug"' pid; }

# pud_pid: the process that serves the clients of the run that was started last. Where a launcher waits for it, it is older and has the
# same script among its arguments.
pud_pid() { pgrep -n -f '/pud-process\.cjs ' || fail "no pud process"; }

# host_pid NAME: the process that the user started; ended NAME: whether it has ended.
host_pid() { cat "$LAB_TMP/run.$1.pid"; }
ended() { [ -s "$LAB_TMP/run.$1.status" ]; }

# wait_end NAME [STATUS]: until it has ended, with this status (default 0).
wait_end() {
  local status
  wait_for 15 "end of run $1" ended "$1"
  status=$(cat "$LAB_TMP/run.$1.status")
  [ "$status" = "${2:-0}" ] || fail "run $1 ended with status $status, not ${2:-0}: $(tail -n 2 "$LAB_TMP/run.$1.log")"
}

# stop NAME [SIGNAL]: as a user ends it; must end with status 0 and leave nothing behind.
stop() {
  kill -"${2:-TERM}" "$(host_pid "$1")"
  wait_end "$1"
  nothing_left
}

# user_processes: ids of the processes that LAB_USER runs.
user_processes() { pgrep -U "$LAB_UID"; }
no_user_processes() { ! user_processes; }
# no_driver_processes: none that drives, or would drive, a device; the host and its pud process may be there.
no_driver_processes() { ! pgrep -U "$LAB_UID" -f rump-process; }

# nothing_left: no process of the user, no socket or lock in the runtime folder.
nothing_left() {
  local left
  wait_for 15 "end of the user's processes" no_user_processes
  left=$(find "/run/user/$LAB_UID" -mindepth 2)
  [ -z "$left" ] || fail "left in the runtime folder: $left"
}

# show_rumpusb: for the console, when a check has failed.
show_rumpusb() {
  local file
  for file in "$LAB_TMP"/run.*.events "$LAB_TMP"/run.*.log; do
    [ ! -s "$file" ] || { echo "--- $file"; tail -n 40 "$file"; }
  done
}

# kill_rumpusb: every process of the user and every run, for the next script.
kill_rumpusb() {
  local file
  for file in "$LAB_TMP"/run.*.pid; do
    [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null
  done
  pkill -KILL -U "$LAB_UID"
  rm -rf "/run/user/$LAB_UID"/* /run/rumpusb
}
