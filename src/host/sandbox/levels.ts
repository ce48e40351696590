/** What the sandbox of a rump process and of a pud process is made of, and what a set of layers is called. */

/**
 * | namespaces   | a root of its own with a handful of read-only paths, no network, no other process to be seen            |
 * | landlock     | the kernel refuses every other path and every abstract socket, also where there are no namespaces       |
 * | seccomp      | every thread is killed for a system call that is not on the list                                        |
 * | capabilities | none, and none can be had again (no_new_privs); never the super-user's id                               |
 * | limits       | memory, descriptors, no core dump, no file grows, dies with the host process                            |
 */
export const LAYERS = ["namespaces", "landlock", "seccomp", "capabilities", "limits"] as const;
export type Layer = (typeof LAYERS)[number];
export type Layers = Readonly<Record<Layer, boolean>>;

/** "full" may lack Landlock where the kernel does: the namespaces keep the same paths away. */
export type SandboxLevel = "full" | "no-userns" | "seccomp-only" | "none";

/** A layer that is not there, why, and what would bring it. */
export interface MissingLayer {
  readonly layer: Layer;
  readonly reason: string;
  readonly help?: string;
}

export const NO_LAYERS: Layers = {
  namespaces: false,
  landlock: false,
  seccomp: false,
  capabilities: false,
  limits: false,
};

export function levelOf(layers: Layers): SandboxLevel {
  if (!layers.seccomp || !layers.capabilities) return "none";
  if (layers.namespaces) return "full";
  return layers.landlock ? "no-userns" : "seccomp-only";
}
