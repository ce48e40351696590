import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("hotSpot", 1_140, "sequence", "overlap", "together");
