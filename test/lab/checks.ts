/** Which check scripts of lab/checks run where. */

/** Need nothing but a kernel with gadgets, vhci_hcd and nbd. */
export const CHECKS = [
  "kernel.sh",
  "stick.sh",
  "taking.sh",
  "sandbox.sh",
  "hotplug.sh",
  "survival.sh",
  "variants.sh",
  "kernel-nbd.sh",
  "vhci.sh",
  "vhci-serial.sh",
  "vhci-serial-lines.sh",
  "acm-gadget.sh",
  "vhci-uas.sh",
  "usbip-client.sh",
  "chains.sh",
  "split.sh",
  "split-taking.sh",
  "group.sh",
  "port.sh",
  "tty-links.sh",
] as const;

/** The ones that a stock kernel also runs where there is no User Mode Linux: all of them would take it a quarter of an hour. */
export const CHECKS_WITHOUT_UML = ["stick.sh", "kernel-nbd.sh", "vhci.sh"] as const;

/**
 * Need devices that QEMU plugs. qemu-uas.sh is run by hand: its last check, the end of the host process, takes minutes there and
 * then fails.
 */
export const QEMU_CHECKS = ["qemu-stick.sh", "qemu-serial.sh"] as const;
export const QEMU_DEVICES = ["usb-storage", "usb-bot", "usb-serial", "usb-braille"] as const;
