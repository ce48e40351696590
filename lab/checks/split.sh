# A composite device, two mass_storage functions in one gadget, with a driver process for each function.
stick twin functions=2 size=8M
allow twin
device=$(bus_path twin)

# node NAME INTERFACE, pid NAME INTERFACE: of the function.
node() { field "$1" ".event == \"node\" and .device == \"$device:$2\"" node; }
pid() { field "$1" "(.event == \"device\" or .event == \"restart\") and .device == \"$device:$2\"" pid; }

# reads NAME INTERFACE: what is read is the image of that function.
reads() {
  as_user nbdcopy "$(uri "$1" "$(node "$1" "$2")")" - >"$LAB_TMP/read.$2"
  same_bytes "$LAB_TMP/read.$2" "$(image twin "$2")"
}

two_processes() {
  local each
  start_run main --split "$device"
  [ "$(pid main 0)" != "$(pid main 1)" ] || fail "one process"
  for each in 0 1; do
    reads main "$each"
    random_file "$LAB_TMP/written" 8M
    as_user nbdcopy --flush - "$(uri main "$(node main "$each")")" <"$LAB_TMP/written"
    same_bytes "$(image twin "$each")" "$LAB_TMP/written"
  done
  stop main
}
check "each function has a process and a node, and its own bytes" two_processes

at_once() {
  local first
  start_run main --split "$device"
  reads main 0 &
  first=$!
  reads main 1
  wait "$first"
  stop main
}
check "both are read at the same time" at_once

one_killed() {
  local other copy
  start_run main --split "$device"
  other=$(pid main 1)
  for copy in 1 2 3; do reads main 1 || exit 1; done &
  copy=$!
  kill -KILL "$(pid main 0)"
  wait_event main ".event == \"restart\" and .device == \"$device:0\""
  reads main 0
  wait "$copy" || fail "the other function's reads"
  [ "$(pid main 1)" = "$other" ] || fail "the other function's process was replaced too"
  [ -z "$(events main ".event == \"error\" or (.event == \"restart\" and .device == \"$device:1\")")" ] || fail "$(cat "$LAB_TMP/run.main.events")"
  stop main
}
check "a driver that is killed is replaced, and the other function never notices" one_killed

unplugged() {
  start_run main --split --grace 20 "$device"
  unplug twin
  wait_event main '.event == "unplug"' 2
  plug twin
  allow twin
  wait_event main '.event == "replug"' 2
  reads main 0
  reads main 1
  stop main
}
kill_rumpusb
check "pulled out and put back, both go on" unplugged

whole() {
  start_run main "$device"
  wait_event main '.event == "link"' 2
  [ "$(events main '.event == "sandbox"' | wc -l)" = 1 ] || fail "more than one process"
  stop main
}
kill_rumpusb
check "without --split one process has both" whole
