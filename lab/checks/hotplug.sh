# Plug and unplug while it runs, on a machine with no udevd: the kernel's own events and the device nodes are all there is.
stick moving size=64M
allow moving

unplug_in_io() {
  start_run main --grace 1
  # Through a pipe: into a file nbdcopy would set the length before the data.
  (as_user nbdcopy --connections=1 --requests=4 "$(uri main sd0)" - 2>"$LAB_TMP/copy.log" | cat >"$LAB_TMP/read") &
  wait_for 10 "data flows" test -s "$LAB_TMP/read"
  unplug moving
  refused wait "$!"
  [ "$(bytes_of "$LAB_TMP/read")" -lt "$(bytes_of "$(image moving)")" ] || fail "all was read before the unplug"
  wait_event main '.event == "detach"'
  ! ended main || fail "the host process ended with status $(cat "$LAB_TMP/run.main.status")"
}
check "unplug in the middle of reading, an error, no hang" unplug_in_io

no_node_left() {
  wait_for 10 "end of the driver's process" no_driver_processes
  [ -z "$(find "/run/user/$LAB_UID/rumpusb" -name 'sd0*.sock')" ] || fail "socket of sd0 is still there"
}
check "the driver's process and the node's socket are gone" no_node_left

again() {
  plug moving
  allow moving
  wait_event main '.event == "link"' 2
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image moving)"
}
check "plugged in again, it attaches again in the same run" again

unplug_in_writes() {
  local first
  first=$(head -c 4096 "$(image moving)" | sha256sum)
  changed() { [ "$(head -c 4096 "$(image moving)" | sha256sum)" != "$first" ]; }
  random_file "$LAB_TMP/written" 64M
  as_user nbdcopy --connections=1 - "$(uri main sd0)" <"$LAB_TMP/written" >/dev/null 2>"$LAB_TMP/copy.log" &
  wait_for 10 "data arrives" changed
  unplug moving
  refused wait "$!"
  refused cmp -s "$(image moving)" "$LAB_TMP/written"
  wait_event main '.event == "detach"' 2
}
check "unplug in the middle of writing, an error, no hang" unplug_in_writes

many_times() {
  local round before
  for round in 1 2 3 4 5; do
    before=$(events main '.event == "link"' | wc -l)
    plug moving
    allow moving
    wait_event main '.event == "link"' $((before + 1))
    unplug moving
    wait_event main '.event == "detach"' $((2 + round))
  done
  wait_for 10 "end of the drivers' processes" no_driver_processes
}
check "five times more, and no process stays" many_times

at_the_end() { stop main; }
check "SIGTERM ends it with status 0 and nothing is left" at_the_end

waits_for_one() {
  start main run --json
  # Plugged in only when the program is up; it has no event yet that says so, its runtime folder is the sign.
  wait_for 20 "runtime folder" test -d "/run/user/$LAB_UID/rumpusb"
  plug moving
  allow moving
  wait_event main '.event == "link"'
  stop main
}
check "started with nothing plugged in, it takes what comes" waits_for_one

if [ -e /sys/class/udc/dummy_udc.1 ]; then
  stick other udc=1 size=4M
  allow other
  two_at_once() {
    start_run main
    wait_event main '.event == "link"' 2
    [ "$(events main '.event == "device"' | jq -r .pid | sort -u | wc -l)" = 2 ] || fail "not two processes"
    unplug other
    wait_event main '.event == "detach"'
    local node
    node=$(field main ".event == \"node\" and .device == \"$(bus_path moving)\"" node)
    as_user nbdcopy "$(uri main "$node")" - >"$LAB_TMP/read"
    same_bytes "$LAB_TMP/read" "$(image moving)"
    stop main
  }
  check "two devices, two processes; one unplugged, the other does not notice" two_at_once
fi
