import { describe, expect, test } from "vitest";
import { DeviceNode } from "../../src/rump/autoconf.js";

function makeTree(): { root: DeviceNode; log: string[] } {
  const log: string[] = [];
  return {
    root: DeviceNode.root("mainbus0", (level, source, message) => log.push(`${level} ${source} ${message}`)),
    log,
  };
}

describe("attach", () => {
  test("units are the lowest free ones of each name", async () => {
    const { root } = makeTree();
    const attach = (name: string): Promise<DeviceNode> => root.attachChild(name, () => Promise.resolve());
    const [first, second, other] = [await attach("umass"), await attach("umass"), await attach("uhub")];
    expect([first.name, second.name, other.name]).toEqual(["umass0", "umass1", "uhub0"]);
    await first.detach();
    expect((await attach("umass")).name).toBe("umass0");
  });

  test("what an attach that fails half-way had registered is undone in reverse, and its unit is free again", async () => {
    const { root } = makeTree();
    const undone: string[] = [];
    const failing = root.attachChild("umass", async (node) => {
      node.onDetach(() => void undone.push("first"));
      await node.attachChild("scsibus", async (child) => void child.onDetach(() => void undone.push("child")));
      node.onDetach(() => void undone.push("second"));
      throw new Error("no medium");
    });
    await expect(failing).rejects.toThrow("no medium");
    expect(undone).toEqual(["child", "second", "first"]);
    expect(root.children).toEqual([]);
    expect((await root.attachChild("umass", () => Promise.resolve())).name).toBe("umass0");
  });

  test("an attach that finishes after its node was detached is undone, not kept", async () => {
    const { root } = makeTree();
    const undone: string[] = [];
    let finish = (): void => {};
    const slow = root.attachChild("umass", async (node) => {
      await new Promise<void>((resolve) => (finish = resolve));
      node.onDetach(() => void undone.push("late"));
    });
    const detached = root.detach();
    finish();
    await expect(slow).rejects.toThrow();
    await detached;
    expect(undone).toEqual(["late"]);
  });
});

describe("detach", () => {
  test("children go before their parent, the youngest first; each undo runs once", async () => {
    const { root } = makeTree();
    const undone: string[] = [];
    const hub = await root.attachChild("uhub", async (node) => void node.onDetach(() => void undone.push(node.name)));
    for (let n = 0; n < 2; n++)
      await hub.attachChild("umass", async (node) => void node.onDetach(() => void undone.push(node.name)));
    await Promise.all([root.detach(), root.detach(), hub.detach()]);
    expect(undone).toEqual(["umass1", "umass0", "uhub0"]);
  });

  test("an undo that fails is logged and the others still run", async () => {
    const { root, log } = makeTree();
    const undone: string[] = [];
    await root.attachChild("umass", async (node) => {
      node.onDetach(() => void undone.push("first"));
      node.onDetach(() => Promise.reject(new Error("stuck")));
    });
    await root.detach();
    expect(undone).toEqual(["first"]);
    expect(log).toEqual(["warn umass0 detach: stuck"]);
  });

  test("the signal is aborted before the first undo, and nothing attaches below a node that is going", async () => {
    const { root } = makeTree();
    let abortedFirst = false;
    const node = await root.attachChild("umass", async (own) => {
      own.onDetach(() => void (abortedFirst = own.signal.aborted));
    });
    await node.detach();
    expect(abortedFirst).toBe(true);
    await expect(node.attachChild("sd", () => Promise.resolve())).rejects.toThrow();
  });
});
