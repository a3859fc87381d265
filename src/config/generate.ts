/** Writes config/latefork.yaml anew: `bun src/config/generate.ts`. Run by hand after a change of the schema. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { exampleConfig } from "./example.ts";

writeFileSync(join(import.meta.dirname!, "../../config/latefork.yaml"), exampleConfig());
