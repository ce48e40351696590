import { expect, test } from "vitest";
import { loadUsbIds, parseUsbIds } from "../../src/host/usb-ids.js";

const TEXT = `# comment
0951  Kingston Technology
\t1666  DataTraveler 100 G3
\t\t01  an interface
046d  Logitech, Inc.
\tc52b  Unifying\u001b[31m Receiver
nonsense
C 08  Mass Storage
\t06  SCSI
\t0666  not a product of Logitech
`;

test("names of vendors and products; everything else is passed over", () => {
  const ids = parseUsbIds(TEXT);
  expect(ids.vendorName(0x0951)).toBe("Kingston Technology");
  expect(ids.productName(0x0951, 0x1666)).toBe("DataTraveler 100 G3");
  expect(ids.productName(0x046d, 0xc52b)).toBe("Unifying?[31m Receiver");
  expect(ids.productName(0x046d, 0x0666)).toBeUndefined();
  expect(ids.vendorName(0x1234)).toBeUndefined();
});

test("without a file nothing has a name", async () => {
  const ids = await loadUsbIds(["/nonexistent/usb.ids"]);
  expect(ids.vendorName(0x0951)).toBeUndefined();
});
