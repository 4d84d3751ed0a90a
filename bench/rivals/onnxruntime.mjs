// node onnxruntime.mjs PACKAGES THREADS HEED.json OPERATION|...: ONNX Runtime beside heed.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {performance} from 'node:perf_hooks';
import path from 'node:path';
import {problems} from './problems.mjs';

const UNITS = {ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1};

// Best seconds of each of heed-bench's lines, from Google Benchmark's JSON.
function heedTimes(file) {
  const best = new Map();
  for (const b of JSON.parse(readFileSync(file, 'utf8')).benchmarks) {
    if (b.run_type !== 'iteration' || b.error_occurred) continue;
    const seconds = b.real_time * UNITS[b.time_unit];
    best.set(b.run_name, Math.min(seconds, best.get(b.run_name) ?? Infinity));
  }
  return best;
}

// Throws unless y is what the definition says, to what f32 sums lose.
function check(problem, y) {
  for (const [index, want] of problem.expected()) {
    if (!(Math.abs(y[index] - want) <= 1e-4 * (1 + Math.abs(want)))) {
      throw new Error(`${problem.name}: element ${index} is ${y[index]}, not ${want}`);
    }
  }
}

async function bestSeconds(ort, problem, threads) {
  const session = await ort.InferenceSession.create(problem.model,
      {intraOpNumThreads: threads, interOpNumThreads: 1, executionProviders: ['cpu']});
  const feeds = {};
  for (const {name, type, shape, data} of problem.inputs) {
    feeds[name] = new ort.Tensor(type === undefined ? 'float32' : 'int32', data, shape);
  }
  check(problem, (await session.run(feeds, ['y'])).y.data);
  let best = Infinity;
  const end = performance.now() + 1000;
  for (let n = 0; n < 5 || performance.now() < end; ++n) {
    const begin = performance.now();
    await session.run(feeds, ['y']);
    best = Math.min(best, (performance.now() - begin) / 1000);
  }
  await session.release();
  return best;
}

const [packages, threadsText, heedFile, operations] = process.argv.slice(2);
const threads = Number(threadsText);
const ort = createRequire(path.resolve(packages, 'x.js'))('onnxruntime-node');
const heed = heedTimes(heedFile);
const ms = (seconds) => (seconds * 1e3).toFixed(3).padStart(12);
const rate = (flops, s) => (flops === 0 ? '-' : (flops / s / 1e9).toFixed(1)).padStart(10);

console.log(`threads: ${threads}; best times`);
console.log(`${''.padEnd(38)}${'heed ms'.padStart(12)}${'ONNX RT ms'.padStart(12)}${'ratio'.padStart(8)}` +
            `${'GFLOP/s'.padStart(10)}${'GFLOP/s'.padStart(10)}`);
for (const make of problems) {
  const problem = make();
  if (!operations.split('|').includes(problem.name.split('/')[0])) continue;
  const ours = heed.get(`${problem.name}/threads:${threads}/heed`);
  if (ours === undefined) throw new Error(`heed-bench did not measure ${problem.name}`);
  const theirs = await bestSeconds(ort, problem, threads);
  console.log(problem.name.padEnd(38) + ms(ours) + ms(theirs) + (theirs / ours).toFixed(2).padStart(8) +
              rate(problem.flops, ours) + rate(problem.flops, theirs));
}
