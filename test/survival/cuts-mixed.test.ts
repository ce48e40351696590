import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("mixed", 1_140, "sequence", "overlap", "together");
