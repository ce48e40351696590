/** Which check scripts of lab/checks run in which guest. */

/** One boot of a guest. */
export interface Boot {
  /** What its scripts have in common; named in the tests. */
  readonly name: string;
  readonly kernel: "uml" | "qemu";
  /** In the order in which they run. */
  readonly scripts: readonly string[];
  /** Sets of devices that QEMU plugs (lab/run --with). */
  readonly devices?: readonly string[];
}

/** The ones that a stock kernel also runs where there is no User Mode Linux: all of them would take it a quarter of an hour. */
const WITHOUT_UML = ["stick.sh", "kernel-nbd.sh", "vhci.sh"];

/** Those that take longest first: they are begun in this order. */
export const BOOTS: readonly Boot[] = [
  {
    name: "devices of QEMU",
    kernel: "qemu",
    scripts: ["qemu-stick.sh", "qemu-uas.sh", "qemu-serial.sh", ...(process.env["RUMPUSB_UML"] ? [] : WITHOUT_UML)],
    devices: ["usb-storage", "usb-bot", "usb-uas", "usb-serial", "usb-braille"],
  },
  { name: "losses", kernel: "uml", scripts: ["hotplug.sh", "survival.sh"] },
  {
    name: "models",
    kernel: "uml",
    scripts: ["vhci.sh", "vhci-uas.sh", "usbip-client.sh", "vhci-serial.sh", "vhci-serial-lines.sh", "vhci-reads.sh"],
  },
  {
    name: "several functions and lines",
    kernel: "uml",
    scripts: ["split.sh", "split-taking.sh", "group.sh", "acm-gadget.sh", "tty-links.sh", "tty-run.sh"],
  },
  {
    name: "disks",
    kernel: "uml",
    scripts: [
      "kernel.sh",
      "stick.sh",
      "variants.sh",
      "kernel-nbd.sh",
      "sandbox.sh",
      "taking.sh",
      "port.sh",
      "chains.sh",
    ],
  },
];
