// A contributor in a tab: opens the page named on the command line, agrees, presses Start and stays.
// Writes a line of JSON whenever the page's snapshot says something new, and ends when the page gives up.

import { launch, line, sleep, snapshot, start } from './launch.mjs';

/** Between two looks at the page, in milliseconds. */
const LOOK = 500;
/** After so many milliseconds without news it says how far it is. */
const QUIET = 10_000;

const browser = await launch();
const page = await browser.newPage();
page.on('console', (message) => line({ console: message.type(), text: message.text() }));
page.on('pageerror', (error) => line({ error: String(error) }));
await page.goto(process.argv[2]);
await start(page);

let before = '';
let shown = 0;
for (;;) {
  const error = await page.locator('#error:visible').allTextContents();
  const now = await snapshot(page);
  if (now) {
    // What changes all the time is no news.
    const news = JSON.stringify([now.phase, now.link.kind, now.device, now.rounds, now.notice]);
    if (news !== before || performance.now() - shown > QUIET) {
      line({ at_ms: Math.round(performance.now()), ...now });
      shown = performance.now();
      before = news;
    }
  }
  if (error.length > 0 || now?.phase.kind === 'failed') {
    line({ error: error.join(' ') || now.phase.why });
    await browser.close();
    process.exit(1);
  }
  await sleep(LOOK);
}
