# Transfer chains of the port on real usbfs, and the driver in every mode of phases: test/lab/chain-check.mjs.
stick chains
# Commands that follow one another without a pause: dummy_hcd's tick, where it can be chosen.
tick=/sys/module/dummy_hcd/parameters/tick_ns
[ ! -w $tick ] || echo 125000 >$tick

on_usbfs() {
  "$LAB_NODE" "$LAB_ROOT/test/lab/chain-check.mjs" "$(device_node chains)" "$GADGETS/chains"
}
check "transfer chains run, stop, and end once" on_usbfs
