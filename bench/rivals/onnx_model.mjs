// ONNX models of one node, in protobuf's wire format: https://onnx.ai/onnx/repo-docs/IR.html.
const FLOAT = 1;

function varint(n) {
  const bytes = [];
  for (; n >= 128; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
  return Buffer.from([...bytes, n]);
}

const number = (field, n) => Buffer.concat([varint(field * 8), varint(n)]);
function bytes(field, value) {  // a string, bytes or a message
  const data = Buffer.from(value);
  return Buffer.concat([varint(field * 8 + 2), varint(data.length), data]);
}
const message = (...fields) => Buffer.concat(fields);

function valueInfo({name, type = FLOAT, shape}) {
  const dims = shape.map((n) => bytes(1, number(1, n)));
  const tensor = message(number(1, type), bytes(2, message(...dims)));
  return message(bytes(1, name), bytes(2, bytes(1, tensor)));
}

const attribute = ([name, n]) => message(bytes(1, name), number(3, n), number(20, 2 /* INT */));

function initializer({name, shape, data}) {
  return message(...shape.map((n) => number(1, n)), number(2, FLOAT), bytes(8, name),
      bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)));
}

// `node`: {op, domain, inputs: names, outputs: names, attributes: {name: integer}}; `inputs` and
// `outputs`: [{name, type, shape}]; `constants`: [{name, shape, data: Float32Array}].
export function onnxModel({node, inputs, outputs, constants = []}) {
  const nodeBytes = message(...node.inputs.map((n) => bytes(1, n)),
      ...node.outputs.map((n) => bytes(2, n)), bytes(4, node.op),
      ...Object.entries(node.attributes ?? {}).map((a) => bytes(5, attribute(a))),
      bytes(7, node.domain ?? ''));
  const graph = message(bytes(1, nodeBytes), bytes(2, 'rival'),
      ...constants.map((c) => bytes(5, initializer(c))), ...inputs.map((i) => bytes(11, valueInfo(i))),
      ...outputs.map((o) => bytes(12, valueInfo(o))));
  const opset = (domain, version) => bytes(8, message(bytes(1, domain), number(2, version)));
  return message(number(1, 8 /* IR version */), bytes(7, graph), opset('', 17),
      opset('com.microsoft', 1));
}
