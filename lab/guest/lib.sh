# shellcheck shell=bash
# The library of check scripts: results, waiting, comparing, kernel modules, requests to the host of the guest.
# Sourced by session.sh and before every script; sources its siblings for gadgets, block devices and the product.
#
# From the run's settings: LAB_KERNEL (uml or qemu), LAB_SLOW (how many times slower than this machine the guest is), LAB_ROOT (the
# checkout), LAB_TMP (scratch in memory), LAB_USER and LAB_UID (a user without rights), LAB_MODULES (folder for modprobe -d;
# empty where everything is built in), LAB_CHANNEL (serial port to the host; protocol in lab/host/channel.mjs).

# Descriptor of the channel, the same in every script of a run.
LAB_FD=9
# Seconds a check may take, times LAB_SLOW; a script may set it.
CHECK_SECONDS=${CHECK_SECONDS:-60}

. "$LAB_ROOT/lab/guest/usb.sh"
. "$LAB_ROOT/lab/guest/rumpusb.sh"

# open_channel: once per guest, before the first report.
open_channel() {
  local port
  if [[ $LAB_CHANNEL == virtio:* ]]; then
    module virtio_console
    for port in /sys/class/virtio-ports/*; do
      [ "$(cat "$port/name")" = "${LAB_CHANNEL#virtio:}" ] && LAB_CHANNEL=/dev/${port##*/}
    done
  fi
  [ -c "$LAB_CHANNEL" ] || return 1
  [[ $LAB_CHANNEL == /dev/tty* ]] && stty -F "$LAB_CHANNEL" raw -echo
  exec 9<>"$LAB_CHANNEL"
}

# report LINE…: one line to the host.
report() { printf '%s\n' "$*" | tr -d '\000-\010\013-\037' >&"$LAB_FD"; }

# report_result LINE…: the same, counted: the host is told at the end of a script how many there were.
report_result() {
  printf . >>"$LAB_RESULTS"
  report "$@"
}

# note TEXT…: for the person who reads along.
note() { report "LAB-NOTE $*"; }

# host VERB ARGUMENT…: asks the host of the guest for something (QEMU only) and prints its answer.
host() {
  local answer
  report "LAB-REQUEST $*"
  IFS= read -r -t 60 answer <&"$LAB_FD" || fail "no answer from the host to: $*"
  [[ $answer == "LAB-ANSWER ok"* ]] || fail "host: $* answered: ${answer#LAB-ANSWER error }"
  printf '%s\n' "${answer#LAB-ANSWER ok }"
}

# fail TEXT…: ends the check; the text is its reason.
fail() {
  echo "$*" >&2
  exit 1
}

# skip NAME REASON…
skip() { report_result "SKIP ${1//: /, }: ${*:2}"; }

# check NAME COMMAND…: runs the command (usually a function of the script) in a shell of its own, where the first command
# that fails ends it, and reports one result. A check that outlives CHECK_SECONDS is killed with everything it started.
# Variables it sets are lost; what a later check needs goes into files under LAB_TMP.
check() {
  # A colon and a space end the name in a result line.
  local name=${1//: /, } log=$LAB_TMP/check.log limit=$((CHECK_SECONDS * LAB_SLOW)) begin=$SECONDS pid guard status=0 reason
  shift
  rm -f "$LAB_TMP/check.late"
  set -m
  (set -eE -o pipefail; trap 'echo "at line $LINENO, status $?: $BASH_COMMAND" >&2' ERR; "$@") >"$log" 2>&1 </dev/null &
  pid=$!
  (sleep "$limit"; : >"$LAB_TMP/check.late"; kill -KILL -- -"$pid") >/dev/null 2>&1 </dev/null &
  guard=$!
  set +m
  wait "$pid" 2>/dev/null || status=$?
  kill -KILL -- -"$guard" 2>/dev/null
  wait "$guard" 2>/dev/null
  echo "lab: $((SECONDS - begin)) s, status $status: $name"
  if [ "$status" = 0 ]; then
    report_result "PASS $name"
    return 0
  fi
  # What the commands said last, and the first of them that failed; functions above it are in the console's copy.
  reason=$({ grep -v '^at line ' "$log" | tail -n 2; grep '^at line ' "$log" | head -n 1; } | tr '\n\t' '  ' | cut -c 1-600)
  [ -e "$LAB_TMP/check.late" ] && reason="not done after $limit s: $reason"
  report_result "FAIL $name: ${reason:-status $status}"
  echo "--- FAIL $name (status $status)"
  cat "$log"
  show_rumpusb
  echo "---"
  return 0
}

# refused COMMAND…: the command must fail.
refused() {
  if "$@"; then fail "was allowed, and should not be: $*"; fi
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds; SECONDS are multiplied by LAB_SLOW.
wait_for() {
  local what=$2 end=$((SECONDS + $1 * LAB_SLOW))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "waited in vain: $what"
    sleep 0.1
  done
}

# same_bytes A B [BYTES]: two files or block devices, over BYTES or over the whole of B.
same_bytes() {
  local bytes=${3:-$(bytes_of "$2")}
  [ "$bytes" -gt 0 ] || fail "same_bytes: $2 is empty"
  cmp -n "$bytes" "$1" "$2" || fail "$1 and $2 differ within their first $bytes bytes"
}

# bytes_of FILE_OR_BLOCK_DEVICE
bytes_of() {
  if [ -b "$1" ]; then blockdev --getsize64 "$1"; else stat -L -c %s "$1"; fi
}

# random_file FILE SIZE: SIZE as head -c takes it.
random_file() { head -c "$2" /dev/urandom >"$1"; }

# have NAME TOOL…: false, with a SKIP line for check NAME, when a tool is missing.
have() {
  local tool
  for tool in "${@:2}"; do
    command -v "$tool" >/dev/null || { skip "$1" "missing tool: $tool"; return 1; }
  done
}

# module NAME…: loads kernel modules where the kernel has them as modules.
module() {
  local name
  [ -n "$LAB_MODULES" ] || return 0
  for name in "$@"; do modprobe -d "$LAB_MODULES" "$name" || { echo "lab: no module $name" >&2; return 1; }; done
}

# clean_up: what a script left behind must not disturb the next one.
clean_up() {
  kill_rumpusb
  remove_gadgets
  rm -rf "${LAB_TMP:?}"/*
}
