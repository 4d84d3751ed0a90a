// What is measured, under heed-bench's names: a model, its inputs and a judge of its output.
import {onnxModel} from './onnx_model.mjs';

const INT32 = 6;

let state = 1;  // of a small generator, so that runs repeat
function uniform() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return (state + 0.5) / 4294967296;
}
function randomNormal(n) {
  return Float32Array.from({length: n},
      () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

// The definition in double precision of some outputs: [index, value] pairs.
function* attentionRows({heads, kvHeads, len, dim}, q, k, v) {
  for (const [h, i] of [[0, 0], [heads - 1, len - 1], [Math.floor(heads / 2), Math.floor(len / 3)]]) {
    const kvHead = Math.floor(h * kvHeads / heads);
    const query = (i * heads + h) * dim, key = (j) => (j * kvHeads + kvHead) * dim;
    const weights = [];
    for (let j = 0; j <= i; ++j) {
      let s = 0;
      for (let d = 0; d < dim; ++d) s += q[query + d] * k[key(j) + d];
      weights.push(Math.exp(s / Math.sqrt(dim)));  // of a few units: no shift is needed
    }
    const sum = weights.reduce((a, b) => a + b);
    for (let d = 0; d < dim; ++d) {
      yield [query + d, weights.reduce((a, w, j) => a + w * v[key(j) + d], 0) / sum];
    }
  }
}

function* matmulRows({m, n, k}, a, b) {
  for (const i of [0, m - 1]) {
    for (let j = 0; j < n; ++j) {
      let sum = 0;
      for (let l = 0; l < k; ++l) sum += a[i * k + l] * b[l * n + j];
      yield [i * n + j, sum];
    }
  }
}

function* softmaxRows({rows, cols}, x) {
  for (const i of [0, rows - 1]) {
    const e = Array.from(x.subarray(i * cols, (i + 1) * cols), Math.exp);
    const sum = e.reduce((a, b) => a + b);
    for (let j = 0; j < cols; ++j) yield [i * cols + j, e[j] / sum];
  }
}

function prefill(heads, kvHeads, len, dim) {
  const on = heads === kvHeads ? heads : `${heads}on${kvHeads}`;
  const q = randomNormal(len * heads * dim), k = randomNormal(len * kvHeads * dim),
        v = randomNormal(len * kvHeads * dim);
  const wide = [1, len, heads * dim], narrow = [1, len, kvHeads * dim];
  const past = [1, kvHeads, len, dim];
  const inputs = [
    {name: 'q', shape: wide, data: q}, {name: 'k', shape: narrow, data: k},
    {name: 'v', shape: narrow, data: v},
    {name: 'last', type: INT32, shape: [1], data: Int32Array.of(len - 1)},
    {name: 'total', type: INT32, shape: [], data: Int32Array.of(len)}];
  return {
    name: `prefill/heads:${on}/len:${len}/dim:${dim}`,
    inputs,
    flops: 2 * heads * dim * len * (len + 1),
    expected: () => attentionRows({heads, kvHeads, len, dim}, q, k, v),
    model: onnxModel({
      node: {op: 'GroupQueryAttention', domain: 'com.microsoft',
        inputs: ['q', 'k', 'v', '', '', 'last', 'total'], outputs: ['y', 'k_all', 'v_all'],
        attributes: {num_heads: heads, kv_num_heads: kvHeads}},
      inputs,
      outputs: [{name: 'y', shape: wide}, {name: 'k_all', shape: past}, {name: 'v_all', shape: past}],
    }),
  };
}

function matmul(m, n, k) {  // with constant weights, which ONNX Runtime packs
  const a = randomNormal(m * k), b = randomNormal(k * n);
  const inputs = [{name: 'a', shape: [m, k], data: a}];
  return {
    name: `matmul_packed/${m}x${n}x${k}`,
    inputs,
    flops: 2 * m * n * k,
    expected: () => matmulRows({m, n, k}, a, b),
    model: onnxModel({
      node: {op: 'MatMul', inputs: ['a', 'b'], outputs: ['y']},
      inputs, outputs: [{name: 'y', shape: [m, n]}],
      constants: [{name: 'b', shape: [k, n], data: b}],
    }),
  };
}

function softmax(rows, cols) {
  const x = randomNormal(rows * cols);
  const inputs = [{name: 'x', shape: [rows, cols], data: x}];
  return {
    name: `softmax/${rows}x${cols}`,
    inputs,
    flops: 0,
    expected: () => softmaxRows({rows, cols}, x),
    model: onnxModel({node: {op: 'Softmax', inputs: ['x'], outputs: ['y']}, inputs,
      outputs: [{name: 'y', shape: [rows, cols]}]}),
  };
}

// Made one at a time, so that one problem's memory is enough.
export const problems = [
  () => prefill(12, 12, 1024, 64), () => prefill(16, 16, 2048, 64), () => prefill(8, 8, 2048, 128),
  () => prefill(32, 8, 1024, 128), () => prefill(4, 4, 64, 32),
  () => matmul(512, 512, 512), () => matmul(1024, 1024, 1024), () => matmul(2048, 2048, 2048),
  () => matmul(1024, 2304, 768), () => matmul(128, 768, 768),
  () => softmax(512, 128), () => softmax(256, 256), () => softmax(128, 512),
  () => softmax(64, 1024), () => softmax(32, 2048), () => softmax(16, 4096)];
