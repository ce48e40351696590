# A device outlives its host process and no wrong medium takes its place: another medium within the grace time, a return that is too
# late, and a kernel driver that takes over where a write was cut off.
stick second size=16M udc=1
allow second

# driver_pid NAME: the process that serves the device now.
driver_pid() { field "$1" '.event == "device" or .event == "restart" or .event == "replug"' pid; }

unplugged() {
  unplug second
  wait_event main '.event == "unplug"' "$1"
}
plugged() {
  plug second
  allow second
}

# begin_pending: a write that is asked for while the device is away.
begin_pending() {
  random_file "$LAB_TMP/pending" 1M
  as_user nbdcopy - "$(uri main sd0)" <"$LAB_TMP/pending" >"$LAB_TMP/pending.log" 2>&1 &
  pending=$!
}

another_medium() {
  start_run main @second --grace 20
  unplugged 1
  begin_pending
  random_file "$LAB_TMP/other" 16M
  cat "$LAB_TMP/other" >"$(image second)"
  plugged
  refused wait "$pending"
  wait_event main '.event == "node-gone"'
  wait_event main '.event == "link"' 2
  as_user nbdcopy "$(field main '.event == "link"' uri)" - >"$LAB_TMP/read" # the old name may still be in use
  same_bytes "$LAB_TMP/read" "$LAB_TMP/other"
  same_bytes "$(image second)" "$LAB_TMP/other"
  stop main
}
check "another medium within the grace time, what was asked fails, the node goes and comes, nothing is written" another_medium

too_late() {
  start_run main @second --grace 1
  cp "$(image second)" "$LAB_TMP/before"
  unplugged 1
  begin_pending
  refused wait "$pending"
  wait_event main '.event == "node-gone"'
  wait_event main '.event == "detach"'
  [ -z "$(find "/run/user/$LAB_UID/rumpusb" -name 'sd0*.sock')" ] || fail "socket of sd0 is still there"
  plugged
  wait_event main '.event == "link"' 2
  same_bytes "$(image second)" "$LAB_TMP/before"
  stop main
}
check "too late, what was asked fails and the node is gone; plugged in later it is a new one" too_late

# Cut off in a data phase, the device takes the next command block for data.
stick taken size=32M udc=2 kernel=1
cut_off() {
  local round disk first device begin
  allow taken
  wait_for 5 "usb-storage" kernel_driver_is taken usb-storage
  device=$(bus_path taken)
  for round in 1 2 3; do
    wait_for 10 "disk of usb-storage" kernel_disk taken
    start_run victim --take "$device"
    first=$(head -c 4096 "$(image taken)" | sha256sum)
    written() { [ "$(head -c 4096 "$(image taken)" | sha256sum)" != "$first" ]; }
    random_file "$LAB_TMP/written" 32M
    as_user nbdcopy --connections=1 - "$(uri victim sd0)" <"$LAB_TMP/written" >"$LAB_TMP/copy.log" 2>&1 &
    wait_for 10 "data arrives" written
    begin=${EPOCHREALTIME/./}
    kill -KILL "$(host_pid victim)" "$(driver_pid victim)"
    refused wait "$!"
    refused cmp -s "$(image taken)" "$LAB_TMP/written"
    wait_for 15 "usb-storage drives it again" kernel_driver_is taken usb-storage
    wait_for 10 "disk of usb-storage" kernel_disk taken
    disk=$(kernel_disk taken)
    wait_for 5 "medium" same_bytes "$(image taken)" "$disk"
    blockdev --flushbufs "$disk"
    same_bytes "$disk" "$(image taken)"
    note "round $round: the kernel's disk reads after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
    wait_for 15 "end of the user's processes" no_user_processes
  done
}
check "kill -9 of host and driver in the middle of a write with --take, the kernel's driver gets a device that works" cut_off
