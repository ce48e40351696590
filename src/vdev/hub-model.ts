/** An external hub as a device model, USB 2.0 ch. 11. What a bus needs of it is `HubModel` in model.ts. */
export { isHubModel, type HubBus, type HubModel } from "./model.js";
