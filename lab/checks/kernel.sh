# What the guest itself must offer before anything of the product is checked in it.

usbfs() { lsusb && test -c /dev/bus/usb/001/001; }
check "usbfs shows the root hubs" usbfs

kernel_reads() {
  local disk
  stick kernel-stick kernel=1
  wait_for 10 "disk of usb-storage" kernel_disk kernel-stick
  disk=$(kernel_disk kernel-stick)
  [ "$(bytes_of "$disk")" = "$(bytes_of "$(image kernel-stick)")" ] || fail "$disk has $(bytes_of "$disk") bytes"
  same_bytes "$disk" "$(image kernel-stick)"
}
check "the kernel's usb-storage reads a gadget byte for byte" kernel_reads

kernel_leaves() {
  unplug kernel-stick
  leave_alone_by_kernel 0
  plug kernel-stick
  kernel_driver_is kernel-stick "" || fail "driver $(kernel_driver kernel-stick) took it"
}
check "a gadget can be kept from usb-storage" kernel_leaves

only_the_node() {
  local node
  node=$(device_node kernel-stick)
  refused as_user test -w "$node"
  allow kernel-stick
  as_user dd if="$node" of=/dev/null bs=18 count=1 status=none
  as_user test -w "$node"
  refused as_user test -w /dev/bus/usb/001/001
}
check "the user may open one device node and no other" only_the_node

blocks_4096() {
  stick wide blocks=4096 luns=2 udc=0 kernel=1
  wait_for 10 "disk of usb-storage" kernel_disk wide 1
  [ "$(blockdev --getss "$(kernel_disk wide 1)")" = 4096 ] || fail "not 4096: $(blockdev --getss "$(kernel_disk wide 1)")"
}
unplug kernel-stick
check "a gadget can have 4096-byte blocks and two units" blocks_4096

servers() {
  module vhci-hcd nbd
  test -e /sys/devices/platform/vhci_hcd.0/attach
  test -b /dev/nbd0
}
check "vhci_hcd and nbd are there" servers
