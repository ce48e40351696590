import { sharedCutsTest } from "./random-cuts.js";

sharedCutsTest("mixed", 300, "sequence", "overlap", "together");
sharedCutsTest("hotSpot", 300, "overlap");
sharedCutsTest("commits", 150, "uas with streams");
