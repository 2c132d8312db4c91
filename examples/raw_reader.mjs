// Reads raw depth messages (docs/raw-depth.md) in browsers and Node 18 or newer.
// unzstd: Uint8Array -> Uint8Array. In browsers and older Node the npm package fzstd: `import { decompress } from "fzstd"`;
// Node 22.15 and newer have it built in: `import { zstdDecompressSync } from "node:zlib"`.

export const UNITS = { 1: "metre", 2: "relative inverse depth", 3: "inverse metre" };

export function readHeader(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, false) !== 0x44435244 || view.getUint8(4) !== 1) throw new Error("no raw depth message of version 1");
  const flags = view.getUint8(7), has = (bit) => (flags & bit) !== 0, f64 = (at) => view.getFloat64(at, true);
  return {
    kind: view.getUint8(5), unit: UNITS[view.getUint8(6)],
    stale: has(1), reset: has(2), distorted: has(8),
    headerBytes: view.getUint16(8, true), packing: view.getUint8(10), payloadBytes: view.getUint32(12, true),
    sequence: view.getBigUint64(16, true), pts: view.getBigInt64(24, true),
    timeBase: [view.getUint32(32, true), view.getUint32(36, true)],
    capturedNs: view.getBigInt64(40, true), unixNs: view.getBigInt64(48, true),
    height: view.getUint32(56, true), width: view.getUint32(60, true),
    scale: f64(64), offset: f64(72),
    range: [view.getFloat32(80, true), view.getFloat32(84, true)], limits: [view.getFloat32(88, true), view.getFloat32(92, true)],
    camera: has(4) ? { fx: f64(96), fy: f64(104), cx: f64(112), cy: f64(120) } : null,
  };
}

// buffer: ArrayBuffer of one message. Returns {header, values, depth}: values as sent (Uint16Array, Float32Array; the bits
// of float16 as Uint16Array), depth as Float32Array of height * width in header.unit, NaN where there is no value.
export function readDepth(buffer, unzstd) {
  const header = readHeader(buffer), size = header.kind === 3 ? 4 : 2, count = header.height * header.width;
  const payload = new Uint8Array(buffer, header.headerBytes, header.payloadBytes);
  const bits = size === 4 ? new Uint32Array(count) : new Uint16Array(count);
  const parts = header.packing === 1 ? unzstd(payload) : null;
  if (parts === null) new Uint8Array(bits.buffer).set(payload);
  else
    for (let i = 0; i < count; i++) {
      let zigzag = parts[i] | (parts[count + i] << 8);
      if (size === 4) zigzag = (zigzag | (parts[2 * count + i] << 16) | (parts[3 * count + i] << 24)) >>> 0;
      bits[i] = (i < header.width ? 0 : bits[i - header.width]) + ((zigzag >>> 1) ^ -(zigzag & 1));
    }
  const values = size === 4 ? new Float32Array(bits.buffer) : bits;
  if (header.kind === 3) return { header, values, depth: values.slice() };
  const depth = new Float32Array(count);
  for (let i = 0; i < count; i++)
    depth[i] = header.kind === 2 ? float16(bits[i]) : bits[i] === 0 ? NaN
      : Math.fround(Math.fround(bits[i] * Math.fround(header.scale)) + Math.fround(header.offset));
  return { header, values, depth };
}

function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
