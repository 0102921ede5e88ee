// Pictures of the page at work, for the README: opens the address in the first argument, trains on the
// processor until some rounds are credited, and writes wide.png and narrow.png to the folder in the second.

import { launch, snapshot, start, until } from './launch.mjs';

const [url, folder] = process.argv.slice(2);
/** Enough for a curve. */
const ROUNDS = 6;
/** Of a half-minute round, with time for the download before the first. */
const SECONDS = (ROUNDS + 2) * 60;

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, deviceScaleFactor: 1 });
await page.goto(`${url}?device=cpu`);
await start(page);
await until('credited rounds', SECONDS, async () => {
  const rounds = (await snapshot(page))?.rounds ?? [];
  return rounds.filter((row) => row.verdict.kind === 'credited').length >= ROUNDS;
});
for (const [name, width, height] of [
  ['wide', 1280, 900],
  ['narrow', 390, 844],
]) {
  await page.setViewportSize({ width, height });
  // The chart draws itself anew for its new width.
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}
await browser.close();
