import { randomCutsTest } from "./random-cuts.js";

randomCutsTest("mixed", 3_400);
