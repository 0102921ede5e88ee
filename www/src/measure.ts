// A worker that measures what this machine computes: products of square matrices on the graphics card, then on
// one core. Begins when it is told which of them the trainer is to take; takes about three seconds.

import type { DeviceChoice } from './wasm/net/tributary_web_net.js';

/** What was found. Rates are in GFLOP/s. */
export interface Measured {
  /** The graphics card, or why there is none to use. */
  gpu: { name: string; rate: number } | { missing: 'unwanted' | 'api' | 'adapter' | 'software' | 'broken' };
  cpu: number;
}

/** Rows of a matrix: enough to fill a large card, and 0.3 GFLOP, which the slowest does in some seconds. */
const ROWS = 512;
const GFLOP = (2 * ROWS ** 3) / 1e9;
/** The same for one core. */
const CPU_ROWS = 192;
const CPU_GFLOP = (2 * CPU_ROWS ** 3) / 1e9;
/** Milliseconds that each of the two is measured for: clocks of cards rise within the first tenths of a second. */
const GPU_MS = 1500;
const CPU_MS = 700;
/** `GPUBufferUsage.STORAGE`, which TypeScript's library leaves out. */
const STORAGE = 0x80;
/** Products that are queued at once, so that a slow card is never busy for long. */
const MOST_QUEUED = 64;

/** One tile of 16 × 16 a workgroup, through its shared memory. */
const SHADER = `
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
const n = ${ROWS}u;
var<workgroup> left: array<array<f32, 16>, 16>;
var<workgroup> right: array<array<f32, 16>, 16>;
@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(local_invocation_id) here: vec3u) {
  var sum = 0.0;
  for (var tile = 0u; tile < n; tile += 16u) {
    left[here.y][here.x] = a[at.y * n + tile + here.x];
    right[here.y][here.x] = b[(tile + here.y) * n + at.x];
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) { sum += left[here.y][k] * right[k][here.x]; }
    workgroupBarrier();
  }
  c[at.y * n + at.x] = sum;
}`;

async function gpu(device: DeviceChoice): Promise<Measured['gpu']> {
  if (device === 'cpu') return { missing: 'unwanted' };
  if (!navigator.gpu) return { missing: 'api' };
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return { missing: 'adapter' };
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
  // The trainer takes one of these only if it is told to.
  const isSoftware = isFallbackAdapter || architecture === 'swiftshader';
  if (isSoftware && device !== 'gpu') return { missing: 'software' };
  const opened = await adapter.requestDevice();
  try {
    const rate = await gpuRate(opened);
    return { name: [vendor, architecture, description].filter(Boolean).join(' '), rate };
  } finally {
    opened.destroy();
  }
}

async function gpuRate(device: GPUDevice): Promise<number> {
  const compute = { module: device.createShaderModule({ code: SHADER }), entryPoint: 'main' };
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute });
  const entries = [0, 1, 2].map((binding) => {
    const buffer = device.createBuffer({ size: 4 * ROWS ** 2, usage: STORAGE });
    return { binding, resource: { buffer } };
  });
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const run = async (products: number): Promise<number> => {
    const began = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let n = 0; n < products; n += 1) pass.dispatchWorkgroups(ROWS / 16, ROWS / 16);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - began;
  };
  const began = performance.now();
  let products = 1;
  // The slowest come no further than the first, which for all others is too low: it waits for the card to wake.
  let best = GFLOP / ((await run(1)) / 1000);
  while (performance.now() - began < GPU_MS) {
    const took = await run(products);
    best = Math.max(best, (GFLOP * products) / (took / 1000));
    if (took < 50) products = Math.min(2 * products, MOST_QUEUED);
  }
  return best;
}

function cpuRate(): number {
  const size = CPU_ROWS ** 2;
  const [a, b, c] = [
    new Float32Array(size).fill(0.5),
    new Float32Array(size).fill(0.25),
    new Float32Array(size),
  ];
  const began = performance.now();
  let best = 0;
  while (performance.now() - began < CPU_MS) {
    const start = performance.now();
    multiply(a, b, c);
    best = Math.max(best, CPU_GFLOP / ((performance.now() - start) / 1000));
  }
  return best;
}

function multiply(a: Float32Array, b: Float32Array, c: Float32Array): void {
  c.fill(0);
  for (let row = 0; row < CPU_ROWS; row += 1) {
    for (let k = 0; k < CPU_ROWS; k += 1) {
      const factor = a[row * CPU_ROWS + k] ?? 0;
      for (let column = 0; column < CPU_ROWS; column += 1) {
        const at = row * CPU_ROWS + column;
        c[at] = (c[at] ?? 0) + factor * (b[k * CPU_ROWS + column] ?? 0);
      }
    }
  }
}

addEventListener(
  'message',
  async (event: MessageEvent<DeviceChoice>) => {
    const found = await gpu(event.data).catch((): Measured['gpu'] => ({ missing: 'broken' }));
    postMessage({ gpu: found, cpu: cpuRate() } satisfies Measured);
  },
  { once: true },
);
