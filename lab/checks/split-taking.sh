# --split --take: composite devices whose functions the kernel drives, and which it drives again at the end.
stick twin functions=2 size=8M kernel=1
allow twin
twin=$(bus_path twin)

# function_node NAME DEVICE INTERFACE, function_pid …: of the function's process that serves it now.
function_node() { field "$1" ".event == \"node\" and .device == \"$2:$3\"" node; }
function_pid() { field "$1" "(.event == \"device\" or .event == \"restart\") and .device == \"$2:$3\"" pid; }

# drives SERIAL INTERFACE NAME: the kernel's driver is bound to it, soon.
drives() { wait_for 15 "$3 drives interface $2 of $1" kernel_driver_is "$1" "$3" "$2"; }

disks_given_back() {
  drives twin 0 usb-storage
  drives twin 1 usb-storage
}
disks_given_back

two_disks() {
  local each
  start_run main --split --take "$twin"
  [ "$(function_pid main "$twin" 0)" != "$(function_pid main "$twin" 1)" ] || fail "one process"
  for each in 0 1; do
    as_user nbdcopy "$(uri main "$(function_node main "$twin" "$each")")" - >"$LAB_TMP/read.$each"
    same_bytes "$LAB_TMP/read.$each" "$(image twin "$each")"
    kernel_driver_is twin usbfs "$each" || fail "interface $each: $(kernel_driver twin "$each")"
  done
  stop main
  disks_given_back
}
check "each function is taken by its own process, and both are given back" two_disks

killed() {
  start_run victim --split --take "$twin"
  kill -KILL "$(function_pid victim "$twin" 0)"
  wait_event victim ".event == \"restart\" and .device == \"$twin:0\""
  kill -KILL "$(host_pid victim)"
  disks_given_back
  wait_for 15 "end of the user's processes" no_user_processes
}
check "given back after kill -9 of a driver and then of the host" killed
kill_rumpusb

# Interfaces 0 and 1 are the modem's (control and data), 2 is the disk.
stick mixed modems=1 size=8M kernel=1 udc=1
allow mixed
mixed=$(bus_path mixed)
all_given_back() {
  drives mixed 0 cdc_acm
  drives mixed 1 cdc_acm
  drives mixed 2 usb-storage
}
all_given_back

mixed_reads() {
  as_user nbdcopy "$(uri main "$(field main '.event == "node" and .kind == "disk"' node)")" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image mixed)"
}

grouped() {
  start_run main --split --take --driver "$LAB_ROOT/lab/checks/modem-driver.mjs" "$mixed"
  wait_event main '.event == "device"' 2
  [ "$(function_pid main "$mixed" 0)" != "$(function_pid main "$mixed" 2)" ] || fail "one process"
  [ -z "$(events main ".device == \"$mixed:1\"")" ] || fail "the data interface is a function of its own"
  [ "$(field main ".event == \"device\" and .device == \"$mixed:0\"" driver)" = labmodem0 ] || fail "$(events main '.event == "device"')"
  for each in 0 1 2; do
    kernel_driver_is mixed usbfs "$each" || fail "interface $each: $(kernel_driver mixed "$each")"
  done
  mixed_reads
  stop main
  all_given_back
}
check "the two interfaces of a modem go to one process, the disk to another" grouped

host_killed() {
  start_run main --split --take --driver "$LAB_ROOT/lab/checks/modem-driver.mjs" "$mixed"
  wait_event main '.event == "device"' 2
  kill -KILL "$(host_pid main)"
  all_given_back
  wait_for 15 "end of the user's processes" no_user_processes
}
check "kill -9 of the host: cdc_acm and usb-storage are back" host_killed
