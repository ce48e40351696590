# A flash drive made by the kernel's gadget, driven as a user who may open its device node and no other: found, attached,
# read and written through NBD, and compared with the file behind the gadget, which no byte of ours passed on the way.
stick first
allow first
device=$(bus_path first)

listed() {
  local line
  rumpusb list --json >"$LAB_TMP/list"
  line=$(jq -c "select(.device == \"$device\")" "$LAB_TMP/list")
  [ "$(jq -r '.vendor + ":" + .product' <<<"$line")" = "$GADGET_IDS" ] || fail "not in the list: $(cat "$LAB_TMP/list")"
  [ "$(jq -r .mayOpen <<<"$line")" = true ] || fail "mayOpen is not true: $line"
  [ "$(jq -r '.interfaces[0].driver' <<<"$line")" = umass ] || fail "no umass: $line"
}
check "list names the device, its driver and that the user may open it" listed

not_allowed() {
  chown root "$(device_node first)"
  start denied run --json "$device"
  wait_end denied 4
  grep -q 'SUBSYSTEM=="usb".*1209' "$LAB_TMP/run.denied.events" "$LAB_TMP/run.denied.log" || fail "no udev rule in the message"
  nothing_left
  allow first
}
check "without permission, exit status 4 and the udev rule" not_allowed

attach() {
  start_run main "$device"
  [ "$(field main '.event == "device"' device)" = "$device" ] || fail "device event names another device"
  [ "$(field main '.event == "device"' vendor):$(field main '.event == "device"' product)" = "$GADGET_IDS" ]
  [ "$(field main '.event == "node"' node)" = sd0 ]
  [ "$(field main '.event == "node"' size)" = "$(bytes_of "$(image first)")" ] || fail "size is not the image's"
  [ "$(field main '.event == "node"' blockBytes)" = 512 ]
  [ "$(field main '.event == "node"' readOnly)" = false ]
}
check "a non-root user attaches it" attach

process_of_its_own() {
  local pid
  pid=$(rump_pid main)
  [ "$pid" != "$(host_pid main)" ] || fail "the driver runs in the host process"
  [ "$(stat -c %u "/proc/$pid")" = "$LAB_UID" ] || fail "uid $(stat -c %u "/proc/$pid")"
  user_processes | grep -qx "$pid"
}
check "the driver has a process of its own, of the same user" process_of_its_own

private_socket() {
  local socket
  socket=$(uri main sd0)
  socket=${socket#*socket=}
  [ "$(stat -c %a "$socket")" = 600 ] || fail "$socket has mode $(stat -c %a "$socket")"
  [ "$(stat -c %a "${socket%/*}")" = 700 ] || fail "${socket%/*} has mode $(stat -c %a "${socket%/*}")"
}
check "the socket is the user's alone" private_socket

info() {
  local text
  text=$(as_user nbdinfo "$(uri main sd0)")
  grep -q "export-size: $(bytes_of "$(image first)")" <<<"$text" || fail "$text"
  grep -q "can_flush: true" <<<"$text" || fail "$text"
}
! have "nbdinfo" nbdinfo || check "nbdinfo" info

read_all() {
  as_user nbdcopy "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$(image first)"
}
! have "nbdcopy reads it byte for byte" nbdcopy || check "nbdcopy reads it byte for byte" read_all

write_all() {
  random_file "$LAB_TMP/written" 16M
  as_user nbdcopy --flush - "$(uri main sd0)" <"$LAB_TMP/written"
  same_bytes "$(image first)" "$LAB_TMP/written"
}
! have "nbdcopy writes it byte for byte" nbdcopy || check "nbdcopy writes it byte for byte" write_all

convert() {
  as_user qemu-img convert -f raw -O qcow2 "$(uri main sd0)" /run/home/disk.qcow2
  as_user qemu-img compare -f raw -F qcow2 "$(uri main sd0)" /run/home/disk.qcow2
  as_user qemu-img convert -f qcow2 -O raw /run/home/disk.qcow2 /run/home/disk.raw
  same_bytes /run/home/disk.raw "$(image first)"
  random_file "$LAB_TMP/source" 16M
  as_user qemu-img convert -n -f raw -O raw "$LAB_TMP/source" "$(uri main sd0)"
  same_bytes "$(image first)" "$LAB_TMP/source"
}
! have "qemu-img convert both ways" qemu-img || check "qemu-img convert both ways" convert

verify() {
  (cd /run/home && as_user fio --name=verify --ioengine=nbd --uri="$(uri main sd0)" --rw=randwrite --bsrange=512-128k \
    --blockalign=512 --size=8M --iodepth=8 --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 --output=fio.log) || {
    tail -n 5 /run/home/fio.log
    fail "fio: verification failed"
  }
}
! have "fio writes and verifies crc32c" fio || check "fio writes and verifies crc32c" verify

at_the_end() { stop main; }
check "SIGTERM ends it with status 0 and nothing is left" at_the_end

interrupt() {
  start_run again "@first"
  stop again INT
}
check "a device can be named by its serial number; SIGINT ends it too" interrupt

vendor_product() {
  start_run ids "$GADGET_IDS" --read-only
  [ "$(field ids '.event == "node"' readOnly)" = true ] || fail "readOnly is not true"
  sha256sum "$(image first)" >"$LAB_TMP/before"
  refused as_user nbdcopy "$LAB_TMP/written" "$(uri ids sd0)"
  sha256sum --check --quiet "$LAB_TMP/before"
  stop ids
}
check "named by vendor:product; --read-only lets nothing be written" vendor_product
