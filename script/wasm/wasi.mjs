// The part of WASI (preview 1) that a test program needs: arguments, no environment, standard output,
// clocks, exit. The same file serves Node.js and browsers.

class Exit extends Error {
  constructor(code) {
    super(`exit ${code}`);
    this.code = code;
  }
}

const SUCCESS = 0, BAD_DESCRIPTOR = 8;

// Runs a module given as bytes; `write` gets what it prints. Returns its exit code.
export function run(bytes, args, write) {
  const encoded = args.map(arg => new TextEncoder().encode(arg + '\0'));
  const decoder = new TextDecoder();
  let memory;
  const view = () => new DataView(memory.buffer);

  const calls = {
    args_sizes_get(count, size) {
      view().setUint32(count, encoded.length, true);
      view().setUint32(size, encoded.reduce((sum, arg) => sum + arg.length, 0), true);
      return SUCCESS;
    },
    args_get(pointers, to) {
      for (const arg of encoded) {
        view().setUint32(pointers, to, true);
        new Uint8Array(memory.buffer).set(arg, to);
        pointers += 4;
        to += arg.length;
      }
      return SUCCESS;
    },
    environ_sizes_get(count, size) {
      view().setUint32(count, 0, true);
      view().setUint32(size, 0, true);
      return SUCCESS;
    },
    environ_get: () => SUCCESS,
    clock_time_get(id, precision, to) {
      view().setBigUint64(to, BigInt(Date.now()) * 1000000n, true);
      return SUCCESS;
    },
    fd_write(fd, vectors, count, written) {
      let total = 0;
      for (let i = 0; i < count; ++i) {
        const from = view().getUint32(vectors + 8 * i, true);
        const size = view().getUint32(vectors + 8 * i + 4, true);
        write(decoder.decode(new Uint8Array(memory.buffer, from, size), {stream: true}));
        total += size;
      }
      view().setUint32(written, total, true);
      return SUCCESS;
    },
    fd_close: () => SUCCESS,
    // No descriptor is a file: nothing can be sought or was opened before the start.
    fd_seek: () => BAD_DESCRIPTOR,
    fd_prestat_get: () => BAD_DESCRIPTOR,
    fd_fdstat_get: () => BAD_DESCRIPTOR,
    proc_exit(code) { throw new Exit(code); },
  };
  // A call that is missing here is an error when it is made, not before.
  const missing = name => () => { throw new Error(`WASI's ${name} is not there`); };
  const imports = new Proxy(calls, {get: (known, name) => known[name] ?? missing(name)});

  const instance =
      new WebAssembly.Instance(new WebAssembly.Module(bytes), {wasi_snapshot_preview1: imports});
  memory = instance.exports.memory;
  try {
    instance.exports._start();
  } catch (error) {
    if (error instanceof Exit) return error.code;
    throw error;
  }
  return 0;
}
