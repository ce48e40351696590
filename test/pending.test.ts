import fc from "fast-check";
import { expect, test } from "vitest";
import { PendingMap, PendingSet } from "../src/pending.js";

const ids = fc.array(fc.record({ id: fc.nat(12), adds: fc.boolean() }), { maxLength: 200 });

test("whatever comes and goes: a PendingMap has what a Map has, in the same order", () => {
  fc.assert(
    fc.property(ids, (steps) => {
      const pending = new PendingMap<string>();
      const model = new Map<number, string>();
      for (const [at, { id, adds }] of steps.entries()) {
        if (!adds) expect(pending.delete(id)).toBe(model.delete(id));
        else if (!model.has(id)) {
          pending.add(id, `value ${at}`);
          model.set(id, `value ${at}`);
        }
        expect(pending.has(id)).toBe(model.has(id));
        expect(pending.get(id)).toBe(model.get(id));
        expect(pending.size).toBe(model.size);
      }
      const values = pending.values();
      expect(values).toEqual([...model.values()]);
      pending.clear();
      expect([pending.size, pending.values(), values.length]).toEqual([0, [], model.size]);
    }),
  );
});

test("whatever comes and goes: a PendingSet has what a Set has, in the same order", () => {
  fc.assert(
    fc.property(ids, (steps) => {
      const pending = new PendingSet<number>();
      const model = new Set<number>();
      for (const { id, adds } of steps) {
        if (!adds) expect(pending.delete(id)).toBe(model.delete(id));
        else if (!model.has(id)) {
          pending.add(id);
          model.add(id);
        }
        expect(pending.has(id)).toBe(model.has(id));
        expect(pending.size).toBe(model.size);
      }
      expect(pending.items).toEqual([...model]);
      expect(pending.take()).toEqual([...model]);
      expect(pending.size).toBe(0);
    }),
  );
});
