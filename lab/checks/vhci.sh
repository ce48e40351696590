# The other way round: our simulated flash drive, imported by the kernel's vhci_hcd and driven by the kernel's usb-storage. A third
# party reads the model; the bytes are compared with the image file that the model keeps.
module vhci-hcd usb-storage sd_mod
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
}
listening() { usbip list -r 127.0.0.1 | grep -q 1-1; }

# import NAME: attaches it and waits for the kernel's disk.
import() {
  usbip attach -r 127.0.0.1 -b 1-1
  wait_for 15 "disk of usb-storage" kernel_disk "$1"
}

# export_ended NAME: lets the kernel go and ends the server.
export_ended() {
  detach_imported
  not_there() { ! device_folder "$1"; }
  wait_for 10 "$1 gone from the kernel" not_there "$1"
  kill -TERM "$(host_pid "$1")"
  wait_end "$1"
}

# write_and_read NAME DISK: everything, both ways.
write_and_read() {
  same_bytes "$2" "/run/home/$1.img"
  random_file "$LAB_TMP/written" "$(bytes_of "$2")"
  dd if="$LAB_TMP/written" of="$2" bs=1M oflag=direct conv=fsync status=none
  blockdev --flushbufs "$2"
  same_bytes "/run/home/$1.img" "$LAB_TMP/written"
  dd if="$2" of="$LAB_TMP/read" bs=64k iflag=direct status=none
  same_bytes "$LAB_TMP/read" "$LAB_TMP/written"
}

narrow() {
  serve narrow
  import narrow
  [ "$(blockdev --getss "$(kernel_disk narrow)")" = 512 ]
  write_and_read narrow "$(kernel_disk narrow)"
}
check "usb-storage reads and writes the model, 512-byte blocks" narrow

file_system() {
  local disk
  disk=$(kernel_disk narrow)
  mkfs.ext4 -q "$disk"
  mkdir -p "$LAB_TMP/mount"
  mount "$disk" "$LAB_TMP/mount"
  cp "$LAB_ROOT/package.json" "$LAB_TMP/mount/"
  umount "$LAB_TMP/mount"
  fsck.ext4 -f -n /run/home/narrow.img
  mount -o loop,ro /run/home/narrow.img "$LAB_TMP/mount"
  cmp "$LAB_TMP/mount/package.json" "$LAB_ROOT/package.json"
  umount "$LAB_TMP/mount"
}
module ext4 loop
check "ext4 on it through the kernel; the model's image holds it" file_system

narrow_ended() { export_ended narrow; }
check "detached and ended, nothing left" narrow_ended

wide() {
  serve wide blockBytes=4096
  import wide
  [ "$(blockdev --getss "$(kernel_disk wide)")" = 4096 ] || fail "blocks of $(blockdev --getss "$(kernel_disk wide)")"
  write_and_read wide "$(kernel_disk wide)"
  export_ended wide
}
check "usb-storage reads and writes the model, 4096-byte blocks" wide

units() {
  serve double luns=2
  import double
  wait_for 10 "disk of the second unit" kernel_disk double 1
  [ "$(kernel_disk double 0)" != "$(kernel_disk double 1)" ]
  write_and_read double "$(kernel_disk double 0)"
  random_file "$LAB_TMP/second" "$(bytes_of "$(kernel_disk double 1)")"
  dd if="$LAB_TMP/second" of="$(kernel_disk double 1)" bs=1M oflag=direct conv=fsync status=none
  dd if="$(kernel_disk double 1)" of="$LAB_TMP/read" bs=1M iflag=direct status=none
  same_bytes "$LAB_TMP/read" "$LAB_TMP/second"
  same_bytes "$(kernel_disk double 0)" "$LAB_TMP/written"
  export_ended double
}
check "two units keep their bytes apart" units

protected() {
  serve protected readOnly
  import protected
  [ "$(blockdev --getro "$(kernel_disk protected)")" = 1 ] || fail "the kernel thinks it may write"
  same_bytes "$(kernel_disk protected)" /run/home/protected.img
  export_ended protected
}
check "the kernel sees the write protection" protected
