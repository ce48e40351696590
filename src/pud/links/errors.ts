/**
 * Why a link could not be set up on the host.
 *
 * | code             | means                                              | who acts                          |
 * | LINK_USAGE       | the text or the address cannot be                  | the user: another one             |
 * | LINK_IN_USE      | somebody else has the path, the port or the device | the user: another one, or stop it |
 * | LINK_PERMISSION  | this user may not                                  | the user                          |
 * | LINK_UNAVAILABLE | a program or kernel part is not there              | the user: install, load           |
 * | LINK_FAILED      | anything else; `cause` has it                      | nobody                            |
 */
const CODES = ["LINK_USAGE", "LINK_IN_USE", "LINK_PERMISSION", "LINK_UNAVAILABLE", "LINK_FAILED"] as const;

export type LinkSetupErrorCode = (typeof CODES)[number];

export function isLinkSetupErrorCode(code: unknown): code is LinkSetupErrorCode {
  return CODES.some((one) => one === code);
}

export { errnoOf, messageOf } from "../../thrown.js";

export class LinkSetupError extends Error {
  readonly code: LinkSetupErrorCode;

  constructor(code: LinkSetupErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LinkSetupError";
    this.code = code;
  }
}
