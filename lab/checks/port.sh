# The USB port on real usbfs (test/lab/port-check.mjs), and a locked process that resets its device.
stick port kernel=1

on_usbfs() {
  local ids
  ids=$(cat "$GADGETS/port/idVendor" "$GADGETS/port/idProduct" | sed 's/^0x//' | paste -sd:)
  "$LAB_NODE" "$LAB_ROOT/test/lab/port-check.mjs" "$ids" "$GADGETS/port" </dev/null
}
check "the port claims, transfers, cancels, resets, and says when the device has gone" on_usbfs

stick locked udc=1
reset_locked() { "$LAB_NODE" "$LAB_ROOT/test/lab/locked-reset.mjs" "$(device_node locked)" </dev/null; }
check "a locked process resets its device and goes on" reset_locked
