import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("commits", 1_140, "sequence", "overlap", "together");
