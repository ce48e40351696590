import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("hotSpot", 3_400);
