// In the page: the model's training step written for TensorFlow.js, on its WebGPU backend. The same
// shapes, batch and arithmetic as core/trainer: tied embeddings, RMSNorm, rotary positions, grouped-query
// attention, SwiGLU, cross-entropy, clipping to a global norm, AdamW.

import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
import '@tensorflow/tfjs-backend-webgpu';

/** Milliseconds of steps that are timed after the first ones, which compile the shaders. */
const TIMED_MS = 30_000;
const WARM_UP = 3;

/** The model's variables, drawn like the trainer's. */
function variables({ vocab, width, layers, heads, kv_heads, hidden }) {
  const kv = (width / heads) * kv_heads;
  const draw = (name, shape) => tf.variable(tf.randomNormal(shape, 0, 0.02), true, name);
  const ones = (name) => tf.variable(tf.ones([width]), true, name);
  const layer = (i) => ({
    norm1: ones(`${i}.norm1`),
    q: draw(`${i}.q`, [width, width]),
    k: draw(`${i}.k`, [width, kv]),
    v: draw(`${i}.v`, [width, kv]),
    o: draw(`${i}.o`, [width, width]),
    norm2: ones(`${i}.norm2`),
    gate: draw(`${i}.gate`, [width, hidden]),
    up: draw(`${i}.up`, [width, hidden]),
    down: draw(`${i}.down`, [hidden, width]),
  });
  return {
    embed: draw('embed', [vocab, width]),
    layers: Array.from({ length: layers }, (_, i) => layer(i)),
    norm: ones('norm'),
  };
}

function all(model) {
  return [model.embed, ...model.layers.flatMap((layer) => Object.values(layer)), model.norm];
}

function rmsNorm(x, gain, eps) {
  return x.mul(x.square().mean(-1, true).add(eps).rsqrt()).mul(gain);
}

/** Cosines and sines, [1, seq, 1, dim], of the rotary positions. */
function rotary(seq, dim, theta) {
  const angles = Array.from({ length: seq }, (_, t) =>
    Array.from({ length: dim }, (_, i) => t / theta ** ((2 * (i % (dim / 2))) / dim)),
  );
  const table = (f) => tf.tensor(angles.map((row) => row.map(f))).reshape([1, seq, 1, dim]);
  return [table(Math.cos), table(Math.sin)];
}

function rotate(x, [cos, sin]) {
  const [b, t, h, d] = x.shape;
  const left = x.slice([0, 0, 0, 0], [b, t, h, d / 2]);
  const right = x.slice([0, 0, 0, d / 2], [b, t, h, d / 2]);
  return x.mul(cos).add(tf.concat([right.neg(), left], 3).mul(sin));
}

/** A function that gives the mean loss of a batch, in nats a token. */
function forward(model, shape, batch, seq) {
  const { width, heads, kv_heads, rope_theta, norm_eps, vocab } = shape;
  const dim = width / heads;
  const positions = rotary(seq, dim, rope_theta);
  // Minus infinity above the diagonal, as far as f32 arithmetic likes it.
  const mask = tf.tensor(
    Array.from({ length: seq }, (_, i) => Array.from({ length: seq }, (_, j) => (j > i ? -1e9 : 0))),
  );
  const linear = (x, weight) => x.matMul(weight);
  const block = (x, layer) => {
    const normed = rmsNorm(x, layer.norm1, norm_eps);
    const split = (y, n) => y.reshape([batch, seq, n, dim]);
    const q = rotate(split(linear(normed, layer.q), heads), positions).transpose([0, 2, 1, 3]);
    const groups = heads / kv_heads;
    // Each key and value head serves a group of query heads.
    const shared = (y) =>
      y
        .transpose([0, 2, 1, 3])
        .reshape([batch * kv_heads, 1, seq, dim])
        .tile([1, groups, 1, 1])
        .reshape([batch, heads, seq, dim]);
    const k = shared(rotate(split(linear(normed, layer.k), kv_heads), positions));
    const v = shared(split(linear(normed, layer.v), kv_heads));
    const scores = q.matMul(k, false, true).mul(1 / Math.sqrt(dim)).add(mask);
    const mixed = scores.softmax().matMul(v).transpose([0, 2, 1, 3]).reshape([batch * seq, width]);
    const after = x.add(linear(mixed, layer.o));
    const gated = rmsNorm(after, layer.norm2, norm_eps);
    const gate = linear(gated, layer.gate);
    return after.add(linear(gate.mul(gate.sigmoid()).mul(linear(gated, layer.up)), layer.down));
  };
  return (inputs, targets) =>
    tf.tidy(() => {
      let x = tf.oneHot(inputs, vocab).toFloat().matMul(model.embed);
      for (const layer of model.layers) x = block(x, layer);
      const logits = rmsNorm(x, model.norm, norm_eps).matMul(model.embed, false, true);
      const wanted = tf.oneHot(targets, vocab).toFloat().mul(logits).sum(-1);
      return logits.logSumExp(-1).sub(wanted).mean();
    });
}

/** AdamW after clipping; returns the loss, still on the device. */
function step(model, loss, optimizer, inputs, targets, { lr, weight_decay, clip }) {
  return tf.tidy(() => {
    const { value, grads } = tf.variableGrads(() => loss(inputs, targets), all(model));
    const squares = Object.values(grads).map((gradient) => gradient.square().sum());
    const norm = tf.addN(squares).sqrt();
    const scale = tf.minimum(1, tf.div(clip, norm.add(1e-6)));
    for (const name of Object.keys(grads)) grads[name] = grads[name].mul(scale);
    for (const variable of all(model)) {
      // Norms are not decayed.
      if (variable.rank > 1) variable.assign(variable.mul(1 - lr * weight_decay));
    }
    optimizer.applyGradients(grads);
    return tf.keep(value);
  });
}

/** Best rate of a square matrix product, in GFLOP/s. */
async function matmulRate() {
  let best = 0;
  for (const n of [256, 512, 1024]) {
    const a = tf.randomNormal([n, n]);
    const b = tf.randomNormal([n, n]);
    for (let i = 0; i < 3; i += 1) {
      const begun = performance.now();
      const c = tf.matMul(a, b);
      await c.slice([0, 0], [1, 1]).data();
      best = Math.max(best, (2 * n ** 3) / ((performance.now() - begun) * 1e6));
      c.dispose();
    }
  }
  return best;
}

/** Times the step; all settings come from the caller. */
window.bench = async ({ shape, batch, seq, inner }) => {
  await tf.setBackend('webgpu');
  await tf.ready();
  const model = variables(shape);
  const loss = forward(model, shape, batch, seq);
  const optimizer = tf.train.adam(inner.lr, inner.beta1, inner.beta2, 1e-8);
  const tokens = () => tf.randomUniform([batch * seq], 0, shape.vocab, 'int32');
  const run = async () => {
    const [inputs, targets] = [tokens(), tokens()];
    const value = step(model, loss, optimizer, inputs, targets, inner);
    const [nats] = await value.data();
    tf.dispose([inputs, targets, value]);
    return nats;
  };
  const begun = performance.now();
  let nats = await run();
  const first_ms = performance.now() - begun;
  for (let i = 1; i < WARM_UP; i += 1) nats = await run();
  const from = performance.now();
  let steps = 0;
  while (performance.now() - from < TIMED_MS) {
    nats = await run();
    steps += 1;
  }
  const seconds = (performance.now() - from) / 1000;
  return {
    backend: tf.getBackend(),
    loss: nats,
    first_ms,
    step_ms: (seconds * 1000) / steps,
    tokens_per_s: (steps * batch * seq) / seconds,
    matmul_gflops: await matmulRate(),
  };
};
