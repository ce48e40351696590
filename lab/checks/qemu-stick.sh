# QEMU's own flash drive on an xHCI controller, in one boot of a stock Debian kernel: another device, another controller driver and another
# kernel than the gadget's. `--with usb-storage --with usb-bot`. The host compares: it alone has the image files.
module xhci-pci
wait_for 10 "QEMU's stick" device_folder stick

as_it_should_be() { [ "$1" = "$(host digest "${@:2}")" ] || fail "digest $1 is not that of the image"; }
digest_of() { sha256sum "$1" | cut -d ' ' -f 1; }

bytes() {
  allow stick
  start_run main "@stick"
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" stick
  random_file "$LAB_TMP/written" 16M
  as_user nbdcopy --flush - "$(uri main sd0)" <"$LAB_TMP/written"
  as_it_should_be "$(digest_of "$LAB_TMP/written")" stick
}
check "QEMU's stick, non-root, read and written byte for byte" bytes

verify() {
  (cd /run/home && as_user fio --name=verify --ioengine=nbd --uri="$(uri main sd0)" --rw=randwrite --bs=64k --size=4M \
    --iodepth=4 --verify=crc32c --verify_fatal=1 --output=fio.log) || {
    tail -n 5 /run/home/fio.log
    fail "fio: verification failed"
  }
}
! have "fio writes and verifies crc32c" fio || check "fio writes and verifies crc32c" verify

unplug_in_io() {
  # Through a pipe: into a file nbdcopy would set the length before the data.
  (as_user nbdcopy --connections=1 --requests=4 "$(uri main sd0)" - 2>"$LAB_TMP/copy.log" | cat >"$LAB_TMP/read") &
  wait_for 10 "data flows" test -s "$LAB_TMP/read"
  host unplug stick
  refused wait "$!"
  wait_event main '.event == "detach"'
  stop main
}
check "device_del in the middle of reading, an error, no hang, nothing left" unplug_in_io

plug_again() {
  start main run --json
  wait_for 20 "runtime folder" test -d "/run/user/$LAB_UID/rumpusb"
  host plug stick
  allow stick
  wait_event main '.event == "link"'
  as_user nbdcopy "$(uri main "$(field main '.event == "node"' node)")" - >"$LAB_TMP/read"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" stick
}
check "device_add while it runs, attached, with no udevd" plug_again

units() {
  local lun node of_bot
  of_bot=".event == \"node\" and .device == \"$(bus_path bot)\""
  # The same run: it takes what may be opened from now on, too.
  allow bot
  wait_event main "$of_bot" 2
  wait_event main '.event == "link"' 3
  for lun in 0 1; do
    node=$(events main "$of_bot" | sed -n "$((lun + 1))p" | jq -r .node)
    as_user nbdcopy "$(uri main "$node")" - >"$LAB_TMP/read"
    as_it_should_be "$(digest_of "$LAB_TMP/read")" bot "$lun"
  done
  stop main
}
check "QEMU's usb-bot, two units are two nodes, once the user may open it" units

taken() {
  module usb-storage sd_mod
  leave_alone_by_kernel 1
  wait_for 10 "usb-storage" kernel_driver_is stick usb-storage
  start_run main --take "@stick"
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  as_it_should_be "$(digest_of "$LAB_TMP/read")" stick
  kill -KILL "$(host_pid main)" "$(rump_pid main)"
  wait_for 15 "usb-storage drives it again" kernel_driver_is stick usb-storage
}
check "--take from usb-storage; given back after kill -9 of both" taken
