/** The links of a run: opened together, and closed one after another. */
import { HostError, messageOf } from "../host/errors.js";
import type { EmitEvent } from "../host/events.js";
import { type Link, type LinkContext, type LinkSpec, openDefaultLinks, openLink } from "../pud/links/links.js";

/**
 * @param specs  undefined: one for each kind of device, opened when there is one.
 * @throws HostError LINK; nothing is left behind.
 */
export async function openLinks(
  specs: readonly LinkSpec[] | undefined,
  context: LinkContext,
  emit: EmitEvent,
): Promise<Link[]> {
  if (specs === undefined) return openDefaultLinks(context);
  const opened: Link[] = [];
  for (const spec of specs) {
    try {
      opened.push(await openLink(spec, context));
    } catch (error) {
      await closeLinks(opened, emit);
      throw new HostError("LINK", `link ${spec.kind}: ${messageOf(error)}`, { cause: error });
    }
  }
  return opened;
}

/** What cannot be closed is an error event. */
export async function closeLinks(links: readonly Link[], emit: EmitEvent): Promise<void> {
  for (const link of links) {
    try {
      await link.close();
    } catch (error) {
      emit({ event: "error", code: "LINK", message: `link ${link.kind}: ${messageOf(error)}` });
    }
  }
}
