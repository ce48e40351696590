# A device outlives its driver, a short unplug and its host process: verified writes while the driver's process is killed and
# stopped, while the cable is out, and a kernel driver that takes over where a write was cut off.
stick first size=24M
stick second size=16M udc=1
allow second
mkdir -p "$LAB_TMP/mount"
LOSSES=10
CHECK_SECONDS=180
FIO=(fio --name=verified --rw=randwrite --bsrange=4k-64k --verify=crc32c --verify_fatal=1 --do_verify=1)

# driver_pid NAME: the process that serves the device now.
driver_pid() { field "$1" '.event == "device" or .event == "restart" or .event == "replug"' pid; }

# begin_passes COMMAND…: runs it again and again in the background until end_passes; it must succeed each time.
begin_passes() {
  rm -f "$LAB_TMP/passes."*
  : >"$LAB_TMP/passes.done"
  (
    while [ ! -e "$LAB_TMP/passes.enough" ]; do
      "$@" >"$LAB_TMP/passes.log" 2>&1 || { cp "$LAB_TMP/passes.log" "$LAB_TMP/passes.failed"; exit 1; }
      echo pass >>"$LAB_TMP/passes.done"
    done
  ) &
  passes=$!
}

# more_passes: one more than now begins and ends.
more_passes() {
  local before
  before=$(passes_done)
  enough_passes() { [ -e "$LAB_TMP/passes.failed" ] || [ "$(passes_done)" -ge $((before + 2)) ]; }
  wait_for 30 "passes of the workload" enough_passes
  passes_are_well
}
passes_are_well() {
  [ ! -e "$LAB_TMP/passes.failed" ] || fail "the workload failed: $(cat "$LAB_TMP/passes.failed")"
}
passes_done() { wc -l <"$LAB_TMP/passes.done"; }

end_passes() {
  : >"$LAB_TMP/passes.enough"
  wait "$passes" || fail "the workload failed: $(tail -n 3 "$LAB_TMP/passes.failed")"
}

# lose_drivers NAME SIGNAL…: LOSSES times, one about every second, with these signals in turn; each is recovered from.
lose_drivers() {
  local name=$1 count signals=("${@:2}")
  for ((count = 1; count <= LOSSES; count++)); do
    sleep 0.6 # the interval is what is asked for; the wait is for the restart
    passes_are_well
    kill -"${signals[count % ${#signals[@]}]}" "$(driver_pid "$name")"
    wait_event "$name" '.event == "restart"' "$count"
  done
  [ "$(events "$name" '.event == "node"' | wc -l)" = 1 ] || fail "nodes: $(events "$name" '.event == "node"')"
  [ -z "$(events "$name" '.event == "node-gone" or .event == "quarantine"')" ] || fail "a node went"
  note "$LOSSES losses, $(passes_done) passes of verified writes; down $(events "$name" '.event == "restart"' |
    jq -rs 'map(.downMs | round) | sort | "\(.[length / 2 | floor]) ms (median), \(last) ms (worst)"')"
}

block_errors() { dmesg | grep -cE 'nbd0.*error|error.*nbd0' || true; }

# ext4 on /dev/nbd0, fio on a file there with fsync and on one past the page cache, fsck, and the medium itself.
on_file_system() {
  local before
  before=$(block_errors)
  start_run --root main @first --link nbd=/dev/nbd0
  wait_for 10 "size of /dev/nbd0" same_bytes /dev/nbd0 "$(image first)"
  mkfs.ext4 -q /dev/nbd0
  mount -t ext4 /dev/nbd0 "$LAB_TMP/mount"
  begin_passes "${FIO[@]}" --size=3M --filename="$LAB_TMP/mount/buffered" --fsync=4 \
    --name=direct "${FIO[@]:2}" --size=3M --filename="$LAB_TMP/mount/direct" --direct=1 --ioengine=libaio --iodepth=8
  lose_drivers main KILL STOP
  more_passes
  end_passes
  umount "$LAB_TMP/mount"
  e2fsck -fn /dev/nbd0
  blockdev --flushbufs /dev/nbd0
  same_bytes /dev/nbd0 "$(image first)"
  [ "$(block_errors)" = "$before" ] || fail "the kernel logged errors of nbd0: $(dmesg | grep nbd0 | tail -n 3)"
  kill -TERM "$(host_pid main)"
  wait_end main
}
check "ext4 on /dev/nbd0, $LOSSES SIGKILL and SIGSTOP, no error, fsck clean, the medium holds it" on_file_system

# begin_on_socket NAME: the workload on the node's socket, as the user.
begin_on_socket() {
  cd /run/home
  begin_passes as_user "${FIO[@]}" --size=4M --ioengine=nbd --uri="$(uri "$1" sd0)" --iodepth=8 --fsync=16
}

on_socket() {
  start_run main @second
  begin_on_socket main
  lose_drivers main KILL
  more_passes
  end_passes
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image second)"
  stop main
}
kill_rumpusb
check "writes over the socket, $LOSSES SIGKILL" on_socket

unplugged() {
  unplug second
  wait_event main '.event == "unplug"' "$1"
}
plugged() {
  plug second
  allow second
}

back_in_time() {
  local round
  start_run main @second --grace 20
  begin_on_socket main
  for round in 1 2 3; do
    more_passes
    unplugged "$round"
    plugged
    wait_event main '.event == "replug"' "$round"
  done
  more_passes
  end_passes
  [ -z "$(events main '.event == "node-gone"')" ] || fail "the node went: $(events main '.event == "node-gone"')"
  [ "$(events main '.event == "node"' | wc -l)" = 1 ] || fail "another node: $(events main '.event == "node"')"
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image second)"
  stop main
}
kill_rumpusb
check "unplugged and plugged in again within the grace time, three times, no error, the same node" back_in_time

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
kill_rumpusb
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
kill_rumpusb
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
kill_rumpusb
check "kill -9 of host and driver in the middle of a write with --take, the kernel's driver gets a device that works" cut_off
