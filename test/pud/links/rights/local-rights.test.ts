import { LocalRights } from "../../../../src/pud/links/rights/local-rights.js";
import { linkRightsContract } from "../rights-contract.js";

linkRightsContract("the rights of this process", () => {
  const rights = new LocalRights();
  const releaseAll = (): Promise<void> => rights.releaseAll();
  return Promise.resolve({ rights, releaseAll, [Symbol.asyncDispose]: releaseAll });
});
