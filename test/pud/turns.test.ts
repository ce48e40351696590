import fc from "fast-check";
import { expect, test } from "vitest";
import { Turns, type Waiting } from "../../src/pud/turns.js";

const KIB = 1024;

interface Named extends Waiting {
  readonly name: string;
}

const client = (name: string): { readonly name: string } => ({ name });

function named(owner: { readonly name: string }, bytes: number, count: number): Named[] {
  return Array.from({ length: count }, (_, index) => ({ client: owner, bytes, name: `${owner.name}${index}` }));
}

function taken(turns: Turns<Named>, count: number): string {
  return Array.from({ length: count }, () => turns.shift()?.name).join(" ");
}

test("one client alone: in its order", () => {
  const turns = new Turns<Named>();
  for (const request of named(client("a"), 4 * KIB, 3)) turns.push(request);
  expect(turns.size).toBe(3);
  expect(taken(turns, 4)).toBe("a0 a1 a2 ");
  expect([turns.size, turns.first()]).toEqual([0, undefined]);
});

test("who asks for little is not behind who asks for much, and comes each time it asks", () => {
  const turns = new Turns<Named>();
  const [greedy, modest] = [client("g"), client("m")];
  for (const request of named(greedy, 1024 * KIB, 10)) turns.push(request);
  expect(taken(turns, 2)).toBe("g0 g1");
  for (const request of named(modest, 4 * KIB, 3)) {
    turns.push(request);
    expect(turns.shift()).toBe(request);
  }
  expect(taken(turns, 1)).toBe("g2");
});

test("nobody is passed over for ever, however often others come anew", () => {
  const turns = new Turns<Named>();
  for (const request of named(client("g"), 1024 * KIB, 2)) turns.push(request);
  turns.shift();
  const others = [client("a"), client("b")];
  for (const other of others) for (const request of named(other, 16 * KIB, 1)) turns.push(request);
  let passes = 0;
  for (let request = turns.shift(); request?.name !== "g1"; request = turns.shift()) {
    passes++;
    expect(passes).toBeLessThan(2 * 2 * 64 + 1); // 2 MiB and no more for each of the others
    if (request !== undefined) turns.push(request);
  }
});

test("each client has the same share, whatever the sizes", () => {
  const turns = new Turns<Named>();
  const sizes = [64 * KIB, 256 * KIB, 1024 * KIB];
  const had = new Map<object, number>();
  for (const bytes of sizes) for (const request of named(client(`${bytes} `), bytes, 1000)) turns.push(request);
  for (let count = 0; count < 300; count++) {
    const request = turns.shift();
    if (request !== undefined) had.set(request.client, (had.get(request.client) ?? 0) + request.bytes);
  }
  const shares = [...had.values()];
  expect(shares).toHaveLength(3);
  expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(2048 * KIB);
});

test("what is not to be done any more is taken out, and nothing is lost or done twice", () => {
  const clients = ["a", "b", "c"].map(client);
  const step = fc.oneof(
    fc.record({ act: fc.constant("push" as const), of: fc.nat(2), bytes: fc.nat(2048 * KIB) }),
    fc.record({ act: fc.constantFrom("shift" as const, "remove" as const), of: fc.nat(20), bytes: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const turns = new Turns<Named>();
      const model: Named[] = [];
      steps.forEach(({ act, of, bytes }, index) => {
        const owner = clients[of] ?? client("none");
        if (act === "push") {
          const request = { client: owner, bytes, name: `${index}` };
          turns.push(request);
          model.push(request);
          return;
        }
        const request = act === "shift" ? turns.first() : model[of % Math.max(1, model.length)];
        if (act === "shift") expect(turns.shift()).toBe(request);
        else if (request !== undefined) turns.remove(request);
        if (request === undefined) return;
        // Of one client's requests the oldest is first.
        if (act === "shift") expect(model.find((other) => other.client === request.client)).toBe(request);
        model.splice(model.indexOf(request), 1);
      });
      expect(turns.size).toBe(model.length);
      expect(new Set(turns.all())).toEqual(new Set(model));
      expect(new Set(turns.takeAll())).toEqual(new Set(model));
      expect([turns.size, turns.first(), turns.all()]).toEqual([0, undefined, []]);
    }),
  );
});
