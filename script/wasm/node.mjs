// node script/wasm/node.mjs MODULE [ARGUMENT...]
import {readFileSync, writeSync} from 'node:fs';

import {run} from './wasi.mjs';

const [module, ...args] = process.argv.slice(2);
process.exitCode = run(readFileSync(module), [module, ...args], text => writeSync(1, text));
