// Starts the browser for a test: Chromium from CHROMIUM, without a window.

import { chromium } from 'playwright-core';

const FLAGS = [
  // Containers run as root, where Chromium has no sandbox.
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** An emulated adapter, so that the same test runs on any machine. */
const ADAPTER = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

/** What `cargo xtask` wants beside, such as a field trial. */
const MORE = process.env.CHROMIUM_FLAGS?.split(' ').filter(Boolean) ?? [];

/** A browser; SIGTERM and SIGINT end it with this process. `adapter`: the flags that give it one. */
export function launch(flags = [], adapter = ADAPTER) {
  return chromium.launch({ ...options(), args: [...FLAGS, ...MORE, ...adapter, ...flags] });
}

/** A browser with a profile in a folder, as `launch` otherwise. */
export function launchProfile(folder) {
  return chromium.launchPersistentContext(folder, { ...options(), args: [...FLAGS, ...MORE, ...ADAPTER] });
}

function options() {
  const executablePath = process.env.CHROMIUM;
  if (!executablePath) throw new Error('CHROMIUM must name the browser; `cargo xtask` sets it.');
  return { executablePath, headless: true };
}

/** A line of JSON on stdout. Numbers of 64 bits come from wasm as BigInt. */
export function line(value) {
  const text = JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? Number(inner) : inner));
  process.stdout.write(`${text}\n`);
}

/** Agrees to compute and presses Start. */
export async function start(page) {
  await page.locator('#consent:enabled').waitFor();
  await page.locator('#consent').check();
  await page.locator('#start').click();
}

/** The page's newest snapshot, or undefined before there is one. */
export async function snapshot(page) {
  // As text: a BigInt does not cross from the page.
  const text = await page.evaluate(() =>
    JSON.stringify(window.tributary?.snapshot, (_, value) => (typeof value === 'bigint' ? Number(value) : value)),
  );
  return text === undefined ? undefined : JSON.parse(text);
}

/** Sleeps. */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Looks until `probe` gives something, and gives that; an error with `what` after `seconds`. */
export async function until(what, seconds, probe) {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (performance.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await sleep(100);
  }
}
