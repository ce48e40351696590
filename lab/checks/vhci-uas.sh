# A third party on both sides of UAS, at high speed: our simulated drive with UAS, imported by the kernel's vhci_hcd and driven by the
# kernel's uas; and the same import driven by ours through usbfs. The bytes are compared with the image file that the model keeps.
module vhci-hcd uas sd_mod
leave_alone_by_kernel 1

# serve NAME KEY=VALUE…: the model on loopback, as a user; its image is /run/home/NAME.img.
serve() {
  local name=$1
  shift
  as_user bash -c 'head -c 16M /dev/urandom >"$1"' write "/run/home/$name.img"
  start "$name" vdev flash-drive --listen 127.0.0.1:3240 "image=/run/home/$name.img" "serial=$name" "$@"
  listening_or_ended() { ended "$name" || listening; }
  wait_for 20 "server of $name" listening_or_ended
  listening || fail "no server: $(tail -n 2 "$LAB_TMP/run.$name.log")"
  usbip attach -r 127.0.0.1 -b 1-1
}
listening() { usbip list -r 127.0.0.1 | grep -q 1-1; }

# export_ended NAME: lets the kernel go and ends the server.
export_ended() {
  detach_imported
  not_there() { ! device_folder "$1"; }
  wait_for 10 "$1 gone from the kernel" not_there "$1"
  kill -TERM "$(host_pid "$1")"
  wait_end "$1"
}

# stop_ours: `stop` would wait for the end of the model's process as well, which is the same user's.
stop_ours() {
  kill -TERM "$(host_pid main)"
  wait_end main
}

kernels_uas() {
  serve attached uas
  wait_for 15 "disk of the kernel's uas" kernel_disk attached
  kernel_driver_is attached uas || fail "the kernel drives it with $(kernel_driver attached)"
  local disk
  disk=$(kernel_disk attached)
  same_bytes "$disk" /run/home/attached.img
  random_file "$LAB_TMP/written" "$(bytes_of "$disk")"
  dd if="$LAB_TMP/written" of="$disk" bs=1M oflag=direct conv=fsync status=none
  blockdev --flushbufs "$disk"
  same_bytes /run/home/attached.img "$LAB_TMP/written"
  dd if="$disk" of="$LAB_TMP/read" bs=64k iflag=direct status=none
  same_bytes "$LAB_TMP/read" "$LAB_TMP/written"
}
check "the kernel's uas reads and writes the model" kernels_uas

many_at_once() {
  local disk jobs=() i
  disk=$(kernel_disk attached)
  for i in 0 1 2 3 4 5 6 7; do
    dd if="$disk" of="$LAB_TMP/part.$i" bs=16k skip=$((i * 128)) count=128 iflag=direct status=none &
    jobs+=($!)
  done
  for i in "${jobs[@]}"; do wait "$i"; done
  cat "$LAB_TMP"/part.[0-7] >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" "$LAB_TMP/written"
  export_ended attached
}
check "eight readers at once through the kernel's uas" many_at_once

ours_through_usbfs() {
  serve ours uas
  wait_for 15 "the kernel's uas" kernel_driver_is ours uas
  allow ours
  start_run main --take "@ours"
  [ "$(field main '.event == "device"' driver)" = uas0 ] || fail "driven by $(field main '.event == "device"' driver)"
  as_user nbdcopy --requests=32 "$(uri main sd0)" - >"$LAB_TMP/read"
  same_bytes "$LAB_TMP/read" /run/home/ours.img
  random_file "$LAB_TMP/written" 16M
  as_user nbdcopy --flush --requests=32 - "$(uri main sd0)" <"$LAB_TMP/written"
  same_bytes /run/home/ours.img "$LAB_TMP/written"
  stop_ours
}
check "our uas through usbfs, locked, reads and writes it, taken from the kernel's" ours_through_usbfs

killed_in_io() {
  wait_for 15 "the kernel's uas again" kernel_driver_is ours uas
  start_run main --take "@ours"
  as_user nbdcopy --requests=32 --connections=1 "$(uri main sd0)" - >"$LAB_TMP/read" &
  local copy=$!
  wait_event main '.event == "device"'
  kill -KILL "$(rump_pid main)"
  wait "$copy"
  same_bytes "$LAB_TMP/read" "$LAB_TMP/written"
  stop_ours
  export_ended ours
}
check "the rump process killed in the middle: the copy goes on" killed_in_io
