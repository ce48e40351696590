import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("commits", 3_400);
