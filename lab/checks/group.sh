# Two sticks on two controllers, with their drivers in one process.
stick one size=8M
stick two size=8M udc=1
allow one
allow two
first=$(bus_path one)
second=$(bus_path two)

# node NAME DEVICE, pid NAME DEVICE: the process that serves it now.
node() { field "$1" ".event == \"node\" and .device == \"$2\"" node; }
pid() { field "$1" "(.event == \"device\" or .event == \"restart\" or .event == \"replug\") and .device == \"$2\"" pid; }

# reads RUN STICK DEVICE: what is read is the stick's image.
reads() {
  as_user nbdcopy "$(uri "$1" "$(node "$1" "$3")")" - >"$LAB_TMP/read.$2"
  same_bytes "$LAB_TMP/read.$2" "$(image "$2")"
}

one_process() {
  start_run main --group "$first" "$second"
  [ "$(pid main "$first")" = "$(pid main "$second")" ] || fail "two processes"
  reads main one "$first"
  random_file "$LAB_TMP/written" 8M
  as_user nbdcopy --flush - "$(uri main "$(node main "$second")")" <"$LAB_TMP/written"
  same_bytes "$(image two)" "$LAB_TMP/written"
  reads main one "$first" &
  reads main two "$second"
  wait "$!"
  stop main
}
check "both are in one process, each with its own bytes" one_process

killed() {
  local copies before
  start_run main --group "$first" "$second"
  before=$(pid main "$first")
  (for _ in 1 2 3; do reads main one "$first" || exit 1; done) &
  copies=$!
  kill -KILL "$before"
  wait_event main ".event == \"restart\" and .device == \"$first\""
  wait_event main ".event == \"restart\" and .device == \"$second\""
  [ "$(pid main "$first")" = "$(pid main "$second")" ] || fail "two processes"
  reads main two "$second"
  wait "$copies" || fail "reads while the process was killed"
  [ -z "$(events main '.event == "error"')" ] || fail "$(cat "$LAB_TMP/run.main.events")"
  stop main
}
check "killed, both are in the next process, and their clients never notice" killed

unplugged() {
  local before round
  start_run main --group --grace 20 "$first" "$second"
  before=$(pid main "$second")
  for round in 1 2 3; do
    unplug one
    wait_event main '.event == "unplug"' "$round"
    reads main two "$second"
    plug one
    allow one
    wait_event main '.event == "replug"' "$round"
    reads main one "$first"
  done
  [ "$(pid main "$second")" = "$before" ] || fail "the other stick's process was replaced"
  [ -z "$(events main '.event == "error" or .event == "restart"')" ] || fail "$(cat "$LAB_TMP/run.main.events")"
  stop main
}
kill_rumpusb
check "one is pulled out and put back, three times, the other goes on" unplugged

gone() {
  start_run main --group --grace 0 "$first" "$second"
  unplug one
  wait_event main ".event == \"detach\" and .device == \"$first\""
  reads main two "$second"
  [ -z "$(find "/proc/$(pid main "$second")/fd" -lname "/dev/bus/usb/*deleted*")" ] || fail "the process holds what was pulled out"
  plug one
  allow one
  wait_event main ".event == \"link\"" 3
  reads main one "$first"
  [ "$(pid main "$first")" = "$(pid main "$second")" ] || fail "plugged in anew, it is in another process"
  [ -z "$(events main '.event == "restart"')" ] || fail "$(cat "$LAB_TMP/run.main.events")"
  stop main
}
kill_rumpusb
check "one goes for good and comes anew, the other goes on" gone
