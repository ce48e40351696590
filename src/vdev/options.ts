/** Options of a model as text, checked one by one with messages that name the option and the rule. */

/** By name; a repeated option is a list. A flag is "" or "yes". */
export type ModelOptions = Readonly<Record<string, string | readonly string[]>>;

/** An option that does not exist or cannot be so. */
export class OptionError extends Error {
  readonly code = "OPTION";

  constructor(message: string) {
    super(message);
    this.name = "OptionError";
  }
}

/** Powers of 1024. */
const SIZE_SUFFIXES = ["", "K", "M", "G", "T"];
const FLAG_VALUES: Readonly<Record<string, boolean>> = { "": true, yes: true, true: true, no: false, false: false };

export class OptionReader {
  readonly #kind: string;
  readonly #options: ModelOptions;

  /** @throws OptionError when one of the options is not known. */
  constructor(kind: string, options: ModelOptions, known: readonly string[]) {
    this.#kind = kind;
    this.#options = options;
    for (const name of Object.keys(options)) {
      if (!known.includes(name)) throw new OptionError(`${kind}: option "${name}" is none of ${known.join(", ")}`);
    }
  }

  /** @throws OptionError when it is given more than once. */
  text(name: string): string | undefined {
    const value = Object.hasOwn(this.#options, name) ? this.#options[name] : undefined;
    if (value === undefined || typeof value === "string") return value;
    if (value.length > 1) throw this.#wrong(name, value.join(" "), "given more than once");
    return value[0];
  }

  /** A repeatable option as one text; "" when it is absent. */
  joined(name: string, separator: string): string {
    const value = Object.hasOwn(this.#options, name) ? this.#options[name] : undefined;
    return typeof value === "string" ? value : (value ?? []).join(separator);
  }

  flag(name: string): boolean {
    const text = this.text(name);
    if (text === undefined) return false;
    const value = Object.hasOwn(FLAG_VALUES, text) ? FLAG_VALUES[text] : undefined;
    if (value === undefined) throw this.#wrong(name, text, "a flag stands alone, or is yes or no");
    return value;
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const found = choices.find((one) => one === text);
    if (found === undefined) throw this.#wrong(name, text, `it is one of ${choices.join(", ")}`);
    return found;
  }

  integer(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw this.#wrong(name, text, `it is a whole number from ${min} to ${max}`);
    return value;
  }

  /** Bytes: a whole number, with K, M, G or T for powers of 1024. */
  size(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const parts = /^([0-9]{1,15})([KMGT]?)$/i.exec(text);
    const bytes = Number(parts?.[1] ?? Number.NaN) * 1024 ** SIZE_SUFFIXES.indexOf((parts?.[2] ?? "").toUpperCase());
    if (!Number.isSafeInteger(bytes) || bytes === 0)
      throw this.#wrong(name, text, "it is a number of bytes, with K, M, G or T for powers of 1024 (64M)");
    return bytes;
  }

  /** Printable ASCII texts that are given, each no longer than the table says. */
  texts(maxLengths: Readonly<Record<string, number>>): Readonly<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const [name, maxLength] of Object.entries(maxLengths)) {
      const text = this.text(name);
      if (text === undefined) continue;
      if (text.length > maxLength || !/^[ -~]+$/.test(text))
        throw this.#wrong(name, text, `it is 1 to ${maxLength} printable ASCII characters`);
      found[name] = text;
    }
    return found;
  }

  #wrong(name: string, text: string, rule: string): OptionError {
    return new OptionError(`${this.#kind}: ${name}="${text}": ${rule}`);
  }
}
