import { describe, expect, test } from "vitest";
import { attachKernelNbd } from "../../../../src/pud/links/rights/kernel-nbd.js";
import type { KernelNbdHost } from "../../../../src/pud/links/rights/kernel-nbd.js";

const OPTIONS = { device: "/dev/nbd0", socketPath: "/run/s", exportName: "sd0", blockBytes: 4096 };

/** A machine as attaching sees it; nbd-client does what the kernel would show. */
function machine(
  overrides: Partial<KernelNbdHost> = {},
): KernelNbdHost & { readonly ran: string[]; pid: string | undefined } {
  const host: KernelNbdHost & { readonly ran: string[]; pid: string | undefined } = {
    ran: [],
    pid: undefined,
    privileged: true,
    checkAccess: () => Promise.resolve(),
    readText: (path) =>
      Promise.resolve(path === "/sys/block/nbd0/pid" ? host.pid : path === "/sys/block/nbd0/size" ? "0\n" : undefined),
    run(program, args) {
      host.ran.push([program, ...args].join(" "));
      host.pid = args.includes("-d") ? undefined : "4711\n";
      return Promise.resolve({ exitCode: 0, stderr: "" });
    },
    ...overrides,
  };
  return host;
}

const systemError = (code: string): Error => Object.assign(new Error(`${code}: not here`), { code });

test("attaches by nbd-client and detaches again", async () => {
  const host = machine();
  const attached = await attachKernelNbd(OPTIONS, host);
  await attached.detach();
  await attached.detach();
  expect(host.ran).toEqual(["nbd-client -unix /run/s /dev/nbd0 -name sd0 -block-size 4096", "nbd-client -d /dev/nbd0"]);
});

describe("what is missing is named", () => {
  test.each<[string, Partial<KernelNbdHost>, string, RegExp]>([
    ["the driver", { readText: () => Promise.resolve(undefined) }, "LINK_UNAVAILABLE", /modprobe nbd/],
    [
      "the device, which is another's",
      { readText: () => Promise.resolve("17\n") },
      "LINK_IN_USE",
      /attached by process 17/,
    ],
    [
      "the device file",
      { checkAccess: () => Promise.reject(systemError("ENOENT")) },
      "LINK_UNAVAILABLE",
      /\/dev\/nbd0 cannot be opened.*ENOENT/,
    ],
    [
      "permission",
      { checkAccess: () => Promise.reject(systemError("EACCES")) },
      "LINK_PERMISSION",
      /\/dev\/nbd0 cannot be opened.*EACCES/,
    ],
    [
      "nbd-client",
      { run: () => Promise.reject(systemError("ENOENT")) },
      "LINK_UNAVAILABLE",
      /nbd-client is not installed/,
    ],
    [
      "a program that can be started",
      { run: () => Promise.reject(systemError("EAGAIN")) },
      "LINK_FAILED",
      /cannot be started/,
    ],
    [
      "luck",
      { run: () => Promise.resolve({ exitCode: 1, stderr: "Negotiation: ..\nError: it broke\n\n" }) },
      "LINK_FAILED",
      /exit status 1\): Negotiation: \.\.; Error: it broke$/,
    ],
    [
      "rights",
      { privileged: false, run: () => Promise.resolve({ exitCode: 1, stderr: "" }) },
      "LINK_PERMISSION",
      /needs root/,
    ],
  ])("%s", async (_what, overrides, code, message) => {
    const failure = attachKernelNbd(OPTIONS, machine(overrides));
    await expect(failure).rejects.toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  test("a device of another kind", async () => {
    for (const device of ["/dev/sda", "nbd0", "/dev/nbd", "/dev/nbd0/../sda"])
      await expect(attachKernelNbd({ ...OPTIONS, device }, machine())).rejects.toThrow(
        expect.objectContaining({ code: "LINK_USAGE" }),
      );
  });
});
