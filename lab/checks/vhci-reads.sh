# Reads that follow one another on real usbfs (native/reads.h): our simulated FTDI chip, imported by the kernel's vhci_hcd, which repeats two
# status bytes every 16 ms while nothing is said. What that costs in calls into JavaScript, and that what is new comes at once.
. "$LAB_ROOT/lab/guest/serial.sh"

on_usbfs() {
  serve chip=ft232r
  local found
  found=$(tty ftdi_sio)
  found=$(readlink -f "/sys/class/tty/${found#/dev/}/device/../..")
  "$LAB_NODE" "$LAB_ROOT/test/lab/reads-check.mjs" \
    "$(printf '/dev/bus/usb/%03d/%03d' "$(cat "$found/busnum")" "$(cat "$found/devnum")")" "$LAB_TMP/model.in" </dev/null
  served_without_tty
}
served_without_tty() {
  detach_imported
  kill -TERM "$(host_pid model)"
  wait_end model
}
check "a status that is repeated is kept, a new one is told, reads are cancelled and end with the device" on_usbfs
