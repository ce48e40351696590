# Transfer chains of the port on real usbfs, and the driver in every mode of phases: test/lab/chain-check.mjs.
stick chains

on_usbfs() {
  "$LAB_NODE" "$LAB_ROOT/test/lab/chain-check.mjs" "$(device_node chains)" "$GADGETS/chains"
}
check "transfer chains run, stop, and end once" on_usbfs
