import { describe, expect, test } from "vitest";
import { TagSet } from "../../../../src/dev/usb/uas/tags.js";

const unused = (): boolean => false;

describe("without streams", () => {
  test("tags count up from a random one, over 65534 to 1, and past those in use", () => {
    const tags = new TagSet(0, 0xfffd);
    expect([tags.take(unused), tags.take((tag) => tag === 1), tags.take(unused)]).toEqual([0xfffe, 2, 3]);
    expect(new TagSet(0, 1).take(unused)).not.toBe(new TagSet(0, 2).take(unused));
  });
});

describe("with streams", () => {
  test("a tag is a stream; the last one is for task management", () => {
    const tags = new TagSet(4, 1);
    expect(tags.commandTags).toBe(3);
    expect([tags.take(unused), tags.take(unused), tags.take(unused)]).toEqual([2, 3, 1]);
    expect(tags.takeForManagement(unused)).toBe(4);
  });

  test("the one that was free longest comes next", () => {
    const tags = new TagSet(4, 0);
    const [first, second] = [tags.take(unused), tags.take(unused)];
    tags.give(second);
    tags.give(first);
    expect([tags.take(unused), tags.take(unused), tags.take(unused)]).toEqual([3, second, first]);
  });
});
