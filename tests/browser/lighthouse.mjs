// Lighthouse over the page that the coordinator at the address in the first argument serves, as a phone on a slow
// line with a slow processor: three times, of which the middle one counts. Then as often on a fast line, for when it can be
// worked, of which the least counts, since whatever else the machine does only adds to it. Prints a line a run and, at the end, a JSON object.

import lighthouse from 'lighthouse';
import { launch, line } from './launch.mjs';

/** Where Lighthouse finds the browser: any port that is free on this machine's own address. */
const PORT = 9333;
const RUNS = 3;
const CATEGORIES = ['performance', 'accessibility', 'best-practices'];
const FIGURES = ['first-contentful-paint', 'largest-contentful-paint', 'total-blocking-time', 'interactive'];

/** What browsers' developer tools call fast 4G, with the phone's slow processor. */
const FAST_4G = {
  rttMs: 60,
  throughputKbps: 9_000,
  requestLatencyMs: 165,
  downloadThroughputKbps: 8_100,
  uploadThroughputKbps: 1_350,
  cpuSlowdownMultiplier: 4,
};

const url = process.argv[2];

/** What Lighthouse finds, in a browser of its own. */
async function look(flags) {
  const browser = await launch([`--remote-debugging-port=${PORT}`]);
  const { lhr } = await lighthouse(url, { port: PORT, logLevel: 'error', ...flags });
  await browser.close();
  return lhr;
}

const runs = [];
for (let run = 0; run < RUNS; run += 1) {
  const lhr = await look({ onlyCategories: CATEGORIES });
  const scores = Object.fromEntries(CATEGORIES.map((name) => [name, Math.round(100 * lhr.categories[name].score)]));
  const figures = Object.fromEntries(FIGURES.map((name) => [name, Math.round(lhr.audits[name].numericValue)]));
  const foreign = lhr.audits['network-requests'].details.items.map((item) => item.url).filter((one) => !one.startsWith(url));
  for (const { id } of CATEGORIES.flatMap((name) => lhr.categories[name].auditRefs)) {
    const { score, title, scoreDisplayMode } = lhr.audits[id];
    if (scoreDisplayMode === 'binary' && score === 0) console.log(`not passed: ${title}`);
  }
  console.log(`run ${run + 1}: ${JSON.stringify(scores)} ms: ${JSON.stringify(figures)}`);
  runs.push({ ...scores, ...figures, foreign });
}
const fast = [];
for (let run = 0; run < RUNS; run += 1) {
  const { audits } = await look({ onlyAudits: ['interactive'], throttling: FAST_4G });
  fast.push(Math.round(audits.interactive.numericValue));
}
console.log(`interactive on fast 4G, ms: ${fast.join(', ')}`);
const middle = runs.sort((one, other) => one.performance - other.performance)[Math.floor(RUNS / 2)];
line({ ...middle, interactive_fast_4g: Math.min(...fast) });
