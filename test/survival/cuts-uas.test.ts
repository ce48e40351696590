import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("mixed", 150, "uas without streams");
randomCutsTest("hotSpot", 150, "uas without streams, newest data first");
randomCutsTest("mixed", 150, "uas with streams");
randomCutsTest("commits", 150, "uas with streams, no bulk-only transport");
