# The finished device as the kernel's own /dev/nbd0, with file systems on it: what a user's programs see in the end.
# Root, because /dev/nbd0 and mount are root's.
module nbd ext4 vfat nls_cp437 nls_ascii nls_iso8859-1
stick first size=32M
mkdir -p "$LAB_TMP/mount" "$LAB_TMP/files"
random_file "$LAB_TMP/files/big" 8M
random_file "$LAB_TMP/files/odd" 12345
echo "written in the lab" >"$LAB_TMP/files/text"

# round_trip TYPE FSCK…: makes a file system, writes files, unmounts, checks it, and reads the files back from the image itself.
round_trip() {
  local type=$1
  shift
  "mkfs.$type" /dev/nbd0
  mount -t "$type" /dev/nbd0 "$LAB_TMP/mount"
  cp "$LAB_TMP"/files/* "$LAB_TMP/mount/"
  mkdir "$LAB_TMP/mount/folder"
  mv "$LAB_TMP/mount/text" "$LAB_TMP/mount/folder/"
  umount "$LAB_TMP/mount"
  "$@" /dev/nbd0
  blockdev --flushbufs /dev/nbd0
  "$@" "$(image first)"
  mount -t "$type" -o loop,ro "$(image first)" "$LAB_TMP/mount"
  cmp "$LAB_TMP/mount/big" "$LAB_TMP/files/big"
  cmp "$LAB_TMP/mount/odd" "$LAB_TMP/files/odd"
  cmp "$LAB_TMP/mount/folder/text" "$LAB_TMP/files/text"
  umount "$LAB_TMP/mount"
}

attached() {
  start_run --root main "@first" --link nbd=/dev/nbd0
  wait_for 10 "size of /dev/nbd0" same_bytes /dev/nbd0 "$(image first)"
  events main '.event == "link"' | grep -q '/dev/nbd0' || fail "link event: $(events main '.event == "link"')"
}
module loop
check "the kernel attaches to it, --link nbd=/dev/nbd0" attached

ext4() { round_trip ext4 fsck.ext4 -f -n; }
check "ext4, files written, fsck clean, the image holds them" ext4

fat() { round_trip vfat fsck.vfat -n; }
! have "FAT, files written, fsck clean, the image holds them" mkfs.vfat fsck.vfat ||
  check "FAT, files written, fsck clean, the image holds them" fat

released() {
  kill -TERM "$(host_pid main)"
  wait_end main
  [ ! -e /sys/block/nbd0/pid ] || fail "/dev/nbd0 is still attached"
}
check "at the end the kernel's device is free again" released

# lost_pud SIGNAL: the process that serves /dev/nbd0 is killed or stopped while the kernel reads from it.
lost_pud() {
  start_run --root main "@first" --link nbd=/dev/nbd0
  blockdev --flushbufs /dev/nbd0
  kill -"$1" "$(pgrep -n -f pud-process)"
  dd if=/dev/nbd0 of=/dev/null bs=64k count=16 iflag=direct 2>"$LAB_TMP/dd" &
  [ "$1" != STOP ] || kill -TERM "$(host_pid main)"
  wait_end main 1
  wait
  [ ! -e /sys/block/nbd0/pid ] || fail "/dev/nbd0 is still attached"
  [ "$(events main '.event == "error"' | grep -c "the pud process is lost")" = 1 ] ||
    fail "error events: $(events main '.event == "error"')"
}
check "the pud process is killed: an error, status 1, /dev/nbd0 is free" lost_pud KILL
check "it is stopped, and the run is told to end: the same" lost_pud STOP

unplug_mounted() {
  start_run --root main "@first" --grace 1 --link nbd=/dev/nbd0
  mount -t vfat /dev/nbd0 "$LAB_TMP/mount"
  unplug first
  wait_event main '.event == "detach"'
  refused cmp "$LAB_TMP/mount/big" "$LAB_TMP/files/big"
  umount -l "$LAB_TMP/mount"
  kill -TERM "$(host_pid main)"
  wait_end main
  detached() { [ ! -e /sys/block/nbd0/pid ]; }
  wait_for 10 "/dev/nbd0 free" detached
}
check "unplugged while mounted, errors, no hang, /dev/nbd0 free at the end" unplug_mounted
