# QEMU's usb-uas at SuperSpeed on an xHCI controller: UAS with bulk streams through libusb and usbfs of a stock Debian kernel, locked.
# `--with usb-uas`. The host compares: it alone has the image files.
module xhci-pci
wait_for 10 "QEMU's UAS device" device_folder uas

as_it_should_be() { [ "$1" = "$(host digest "${@:2}")" ] || fail "digest $1 is not that of the image"; }
digest_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# The stack alone first: it takes a minute on a slow machine, and says what is wrong.
stack() {
  "$LAB_NODE" "$LAB_ROOT/test/lab/uas-check.mjs" "$(device_node uas)" 16 >"$LAB_TMP/stack.log" 2>&1 || fail "$(tail -n 30 "$LAB_TMP/stack.log")"
  as_it_should_be "$(sed -n 's/^written //p' "$LAB_TMP/stack.log")" uas
}
check "16 streams through libusb: read, written, a request taken back" stack

bytes() {
  [ "$(cat "$(device_folder uas)/speed")" = 5000 ] || fail "at $(cat "$(device_folder uas)/speed") Mbit/s"
  allow uas
  start_run main "@uas"
  [ "$(field main '.event == "device"' driver)" = uas0 ] || fail "driven by $(field main '.event == "device"' driver)"
  as_user nbdcopy --requests=16 "$(uri main sd0)" - >"$LAB_TMP/read"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" uas
  random_file "$LAB_TMP/written" 16M
  as_user nbdcopy --requests=16 --flush - "$(uri main sd0)" <"$LAB_TMP/written"
  as_it_should_be "$(digest_of "$LAB_TMP/written")" uas
}
check "QEMU's usb-uas with streams, non-root and locked, read and written byte for byte" bytes

verify() {
  (cd /run/home && as_user fio --name=verify --ioengine=nbd --uri="$(uri main sd0)" --rw=randwrite --bs=4k --size=1M \
    --iodepth=16 --verify=crc32c --verify_fatal=1 --output=fio.log) || {
    tail -n 5 /run/home/fio.log
    fail "fio: verification failed"
  }
}
! have "fio writes and verifies crc32c, 16 at a time" fio || check "fio writes and verifies crc32c, 16 at a time" verify

units() {
  as_user nbdcopy "$(uri main sd1)" - >"$LAB_TMP/read"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" uas 1
}
check "its second unit" units

killed() {
  as_user nbdcopy --requests=16 --connections=1 "$(uri main sd0)" - >"$LAB_TMP/read" &
  local copy=$!
  wait_for 10 "data flows" test -s "$LAB_TMP/read"
  kill -KILL "$(rump_pid main)"
  wait "$copy"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" uas
}
check "the rump process killed in the middle, the copy goes on" killed

at_the_end() {
  stop main
}
check "ended, nothing left" at_the_end
