/**
 * Which udev rule would let this user open a device.
 *
 * `TAG+="uaccess"` gives whoever sits at the machine an ACL on the node. logind's rule that acts on the tag is
 * 73-seat-late.rules, so ours must sort before it.
 */
import { hex16 } from "../bytes.js";

export const UDEV_RULES_FILE = "/etc/udev/rules.d/70-rumpusb.rules";

export interface UdevAdvice {
  /** Where the rule goes. */
  readonly file: string;
  /** For whoever is logged in at the machine. */
  readonly rule: string;
  /** For a group, where nobody sits at it (a server, a container's host). */
  readonly groupRule: string;
}

/** The rules that open one kind of device to ordinary users; never to everybody. */
export function udevAdvice(vendor: number, product: number): UdevAdvice {
  const ids = `SUBSYSTEM=="usb", ATTR{idVendor}=="${hex16(vendor)}", ATTR{idProduct}=="${hex16(product)}"`;
  return {
    file: UDEV_RULES_FILE,
    rule: `${ids}, TAG+="uaccess"`,
    groupRule: `${ids}, GROUP="plugdev", MODE="0660"`,
  };
}

/** What to do about a device that may not be opened, over several lines. */
export function permissionHelp(vendor: number, product: number): string {
  const { file, rule, groupRule } = udevAdvice(vendor, product);
  return [
    `put this line into ${file}, then run "sudo udevadm control --reload" and plug the device in again:`,
    `  ${rule}`,
    `or, for the members of a group:`,
    `  ${groupRule}`,
  ].join("\n");
}
