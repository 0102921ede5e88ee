// TensorFlow.js's training step on WebGPU in the same browser: settings as JSON in the argument, the
// figures as a line of JSON on stdout.

import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { launch, line } from './launch.mjs';

const bundle = await build({
  entryPoints: [fileURLToPath(new URL('tfjs-step.js', import.meta.url))],
  bundle: true,
  write: false,
  format: 'iife',
  logLevel: 'error',
});
// A secure context, which WebGPU asks for, is also one that comes from this machine.
const server = createServer((request, response) => {
  const script = request.url === '/step.js';
  response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
  response.end(script ? bundle.outputFiles[0].text : '<!doctype html><script src="/step.js"></script>');
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await launch();
try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(String(error)));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  line(await page.evaluate((settings) => window.bench(settings), JSON.parse(process.argv[2])));
} finally {
  await browser.close();
  server.close();
}
