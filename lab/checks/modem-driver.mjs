/** A driver of a CDC-ACM function (CDC 1.2, PSTN 1.2): takes both of its interfaces and does nothing with them. */
export const labmodem = {
  name: "labmodem",
  match: [{ interfaceClass: 0x02, interfaceSubClass: 0x02, interfaceProtocol: 0x01 }],
  endpoints: { notifications: { type: "interrupt", dir: "in" } },
  async attach(at) {
    const data = at.siblings.find(({ interfaceClass }) => interfaceClass === 0x0a);
    await at.takeSibling(data.interfaceNumber, {
      bulkIn: { type: "bulk", dir: "in" },
      bulkOut: { type: "bulk", dir: "out" },
    });
  },
};
