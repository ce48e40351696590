/** The paths that a rump process may see: Node, its libraries, our modules, the addon. All of them read-only. */
import { readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { addonFiles, loadAddon } from "../../rumpuser/real/addon.js";

/** dist/: the modules of the rump process are among it. */
const MODULES = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Where the dynamic linker looks first. On a merged /usr these are links, and become links again; a folder that a system
 * does not have is left out by the launcher.
 */
const LINKER_PATHS = ["/lib", "/lib64", "/usr/lib64"];

/** Answers for the configuration files that libraries look for. */
const NULL_DEVICE = "/dev/null";

/**
 * @param extra  Further files, such as the user's driver.
 * @throws AddonError  the addon is not built.
 */
export function boundPaths(extra: readonly string[] = []): readonly string[] {
  loadAddon(); // so that the libraries it needs are mapped
  const paths = [
    NULL_DEVICE,
    ...LINKER_PATHS,
    ...libraryFolders(readFileSync("/proc/self/maps", "utf8")),
    realpathSync(process.execPath),
    MODULES.replace(/\/$/, ""),
    ...addonFiles(),
    ...extra,
  ];
  return outermost(paths);
}

/** The folders of the shared libraries that are mapped (proc_pid_maps(5): the path is the sixth field). */
export function libraryFolders(maps: string): string[] {
  const folders = new Set<string>();
  for (const line of maps.split("\n")) {
    const path = /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1];
    if (path !== undefined && /\.so(\.[0-9.]+)?$/.test(path)) folders.add(dirname(path));
  }
  return [...folders];
}

/** Without what lies in another of them: a folder is bound with everything in it. */
function outermost(paths: readonly string[]): string[] {
  const all = [...new Set(paths)];
  return all.filter((path) => !all.some((other) => path !== other && path.startsWith(`${other}/`)));
}
