# A device that the kernel's usb-storage drives: left alone unless --take says so, and always given back.
stick taken kernel=1
allow taken
device=$(bus_path taken)
wait_for 5 "usb-storage" kernel_driver_is taken usb-storage

# given_back: usb-storage drives it again, and its disk is the image.
given_back() {
  wait_for 15 "usb-storage drives it again" kernel_driver_is taken usb-storage
  wait_for 10 "disk of usb-storage" kernel_disk taken
  wait_for 5 "medium" same_bytes "$(image taken)" "$(kernel_disk taken)"
  same_bytes "$(kernel_disk taken)" "$(image taken)"
}

left_alone() {
  start polite run --json "$device"
  wait_end polite 1
  events polite '.event == "error"' | grep -q 'usb-storage.*--take' || fail "no message: $(cat "$LAB_TMP"/run.polite.*)"
  kernel_driver_is taken usb-storage
  nothing_left
}
check "without --take it is left alone, and the message says so" left_alone

take() {
  start_run owner --take "$device"
  kernel_driver_is taken "" || kernel_driver_is taken usbfs || fail "driver: $(kernel_driver taken)"
  as_user nbdcopy "$(uri owner sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image taken)"
  stop owner
  given_back
}
check "--take detaches the kernel driver; it is given back at the end" take

rump_killed() {
  start_run victim --take "$device"
  kill -KILL "$(rump_pid victim)"
  wait_event victim '.event == "restart"'
  as_user nbdcopy "$(uri victim sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image taken)"
  stop victim
  given_back
  nothing_left
}
check "after kill -9 of the driver's process another one goes on; given back at the end" rump_killed

pud_killed() {
  start_run victim --take "$device"
  kill -KILL "$(pud_pid)"
  wait_end victim 1
  given_back
  nothing_left
}
check "after kill -9 of the pud process the run ends with status 1; given back, nothing is left" pud_killed

host_killed() {
  start_run victim --take "$device"
  kill -KILL "$(host_pid victim)"
  given_back
  wait_for 15 "end of the user's processes" no_user_processes
}
check "given back after kill -9 of the host process; the pud process and the driver's end" host_killed

both_killed() {
  start_run victim --take "$device"
  kill -KILL "$(host_pid victim)" "$(rump_pid victim)"
  given_back
  wait_for 15 "end of the user's processes" no_user_processes
}
check "given back after kill -9 of host and driver" both_killed

# pud_lost SIGNAL: the process that serves the clients is killed, or stopped and the run is told to end.
pud_lost() {
  start_run victim --take "$device"
  kill -"$1" "$(pgrep -n -U "$LAB_UID" -f pud-process)"
  [ "$1" != STOP ] || kill -TERM "$(host_pid victim)"
  wait_end victim 1
  given_back
  nothing_left
}
check "given back after kill -9 of the pud process, status 1, nothing is left" pud_lost KILL
check "given back when it is stopped and the run is told to end" pud_lost STOP

after_a_crash() {
  start_run owner --take "$device"
  as_user nbdcopy "$(uri owner sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image taken)"
  stop owner
  given_back
}
check "a stale socket and lock do not stand in the way of the next run" after_a_crash
