import { mkdirSync } from "node:fs";

mkdirSync(new URL("gen/", import.meta.url), { recursive: true });
