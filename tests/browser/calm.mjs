// What training in a tab leaves of the machine: the share of the time at a lower pace, how soon Stop answers, the main
// thread's longest tasks, and what an hour does to memory. Arguments: the coordinator's page, and minutes of training for the
// memory. Prints a line a figure and, at the end, a JSON object.

import { launch, line, sleep, snapshot, start, until } from './launch.mjs';

/** Seconds of each stretch in which tokens are counted. */
const STRETCH_S = 20;
/** Stretches at each pace, in turn, so that a machine that does other work too does it to both. */
const TURNS = 3;
/** Times that it is stopped. */
const STOPS = 7;
/** Seconds in which the main thread's tasks are also traced, for what they take of the processor. */
const TRACE_S = 120;
/** Minutes after which memory has everything that training keeps. */
const WARM_MIN = 3;
/** Minutes between two looks at it. */
const LOOK_MIN = 1;

const [url, minutes] = [process.argv[2], Number(process.argv[3])];
const browser = await launch();
const page = await (await browser.newContext()).newPage();
await page.addInitScript(() => {
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => one.duration))).observe({
    type: 'longtask',
    buffered: true,
  });
});
await page.goto(`${url}?device=cpu`);
await start(page);
const trained = async () => (await snapshot(page))?.tokens ?? 0;
await until('tokens', 120, async () => (await trained()) > 0);

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const say = (what, value) => console.log(`${what.padEnd(44)}${value}`);

async function pace(percent) {
  await page.locator('#pace').fill(String(percent));
  // What is queued is done at the old pace.
  await sleep(2000);
}

async function rate() {
  const [tokens, began] = [await trained(), performance.now()];
  await sleep(1000 * STRETCH_S);
  return ((await trained()) - tokens) / ((performance.now() - began) / 1000);
}

/** Tasks since the training began, without what loading took. */
await page.evaluate(() => (window.tasks = []));
const shares = [];
for (let turn = 0; turn < TURNS; turn += 1) {
  const full = await rate();
  await pace(25);
  shares.push((100 * (await rate())) / full);
  await pace(100);
}
say('tokens a second at 25 %, of those at 100 %', `${shares.map((share) => share.toFixed(1)).join(', ')} %`);

const stops = [];
for (let stop = 0; stop < STOPS; stop += 1) {
  const now = await trained();
  await until('more tokens', 60, async () => (await trained()) !== now);
  stops.push(
    await page.evaluate(async () => {
      const began = performance.now();
      document.querySelector('#stop').click();
      while (document.querySelector('#start').hidden) await new Promise((resolve) => setTimeout(resolve, 1));
      return performance.now() - began;
    }),
  );
  await page.locator('#start').click();
  await until('training', 60, async () => (await snapshot(page))?.phase.kind === 'training');
}
say('milliseconds from Stop to stopped', stops.map((ms) => ms.toFixed(0)).join(', '));

/** The longest task of the page's thread by the clock and by the processor, in milliseconds. Only the second is the
 * page's own doing on a machine that does other work too. */
async function traced() {
  await browser.startTracing(page, { categories: ['toplevel', 'devtools.timeline'] });
  await sleep(1000 * TRACE_S);
  const { traceEvents } = JSON.parse(String(await browser.stopTracing()));
  const thread = ({ pid, tid }) => `${pid} ${tid}`;
  // A browser keeps a renderer in reserve, which does nothing.
  const seen = new Map();
  for (const event of traceEvents) {
    if (event.name === 'thread_name' && event.args.name === 'CrRendererMain') {
      seen.set(thread(event), { tasks: 0, clock: 0, processor: 0 });
    }
  }
  for (const event of traceEvents) {
    const of = /RunTask$/.test(event.name) && event.tdur && seen.get(thread(event));
    if (!of) continue;
    of.tasks += 1;
    of.clock = Math.max(of.clock, event.dur / 1000);
    of.processor = Math.max(of.processor, event.tdur / 1000);
  }
  return [...seen.values()].sort((one, other) => other.tasks - one.tasks)[0];
}
const { tasks: counted, clock, processor } = await traced();
say(`milliseconds of the longest of ${counted} tasks`, `${clock.toFixed(1)}, of the processor ${processor.toFixed(1)}`);

const memory = async () => (await page.evaluate(() => performance.measureUserAgentSpecificMemory())).bytes / 1e6;
const looks = [];
for (let minute = 0; minute < minutes; minute += LOOK_MIN) {
  await sleep(60_000 * LOOK_MIN);
  looks.push(await memory());
}
const warm = looks.slice(WARM_MIN / LOOK_MIN);
const growth = warm.length > 1 ? 100 * (Math.max(...warm.slice(-3)) / warm[0] - 1) : null;
say('megabytes, each minute', looks.map((one) => one.toFixed(1)).join(' '));
const tasks = await page.evaluate(() => window.tasks);
say('main-thread tasks over 50 ms, in all', `${tasks.length}, the longest ${Math.max(0, ...tasks).toFixed(0)} ms`);
const { tokens, rounds } = await snapshot(page);
await browser.close();
line({
  pace_percent: median(shares),
  stop_ms: median(stops),
  stop_ms_most: Math.max(...stops),
  longest_task_ms: Math.max(0, ...tasks),
  longest_task_processor_ms: processor,
  memory_growth_percent: growth,
  minutes,
  tokens,
  rounds: rounds.length,
});
