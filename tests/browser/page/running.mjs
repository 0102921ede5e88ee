// How it runs: what the machine is good for, how hard it works, battery and screen, other tabs, what is remembered.

import { snapshot, start, until } from '../launch.mjs';
import { audit } from './access.mjs';
import { expect, phase, says, training } from './suite.mjs';

/** Puts a battery and a screen into the page, whose state `window.power` changes and shows. */
function power() {
  const battery = Object.assign(new EventTarget(), { charging: true });
  navigator.getBattery = async () => battery;
  window.power = { screens: 0, plug };
  function plug(charging) {
    battery.charging = charging;
    battery.dispatchEvent(new Event('chargingchange'));
  }
  Object.defineProperty(navigator, 'wakeLock', {
    value: {
      request: async () => {
        window.power.screens += 1;
        return { released: false, release: async () => (window.power.screens -= 1) };
      },
    },
  });
}

/** Adds its checks to the suite. */
export default async function checks(suite) {
  await suite.check('agreeing measures the machine, says what it is and what it may earn', async (page) => {
    await page.goto(suite.url);
    await page.locator('#consent:enabled').check();
    await says(page, '#probe-words', /Processor only/, 10);
    await says(page, '#probe-pays', /may earn .*credits an hour.*not a promise/);
    await page.reload();
    await says(page, '#probe-words', /Processor only/, 10);
    await page.locator('#consent:enabled').uncheck();
    expect(!(await page.locator('#probe').isVisible()), 'it is still there without consent');
    await page.reload();
    expect(!(await page.locator('#consent').isChecked()), 'the agreement was not forgotten');
    expect(!(await page.locator('#probe').isVisible()), 'it measures without consent');
  });

  await suite.check('the graphics card is measured where it is to train', async (page, complaints) => {
    await page.goto(`${suite.url}?device=gpu`);
    await page.locator('#consent:enabled').check();
    // The adapter here is an emulation, which may be too slow to be measured while other tests run.
    await says(page, '#probe-words', /Slow, but useful: .*swiftshader|could not be measured/, 20);
    expect(complaints.length === 0, 'it complained');
    await audit(page, 'probed');
  });

  await suite.check('it finishes the round, then stops, with the round sent', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await training(page);
    await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
    await page.locator('#finish').click();
    await until('idle', 60, async () => (await phase(page)) === 'idle');
    const [row] = (await snapshot(page)).rounds;
    const bad = !row || ['withheld', 'watched', 'refused'].includes(row.verdict.kind);
    expect(!bad, `the round is ${row?.verdict.kind}: ${row?.verdict.why}`);
  });

  await suite.check('it works as hard as it was told to, and remembers it', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    const pace = page.locator('#pace');
    await pace.focus();
    for (let press = 0; press < 10; press += 1) await page.keyboard.press('ArrowLeft');
    await says(page, '#pace-now', '50%');
    await page.reload();
    await says(page, '#pace-now', '50%');
    await start(page);
    await until('tokens at half the pace', 60, async () => ((await snapshot(page))?.tokens ?? 0) > 0);
  });

  await suite.check('it pauses on battery, goes on with a plug, and holds the screen only while it trains', async (page) => {
    await page.addInitScript(power);
    await page.goto(`${suite.url}?device=cpu`);
    await page.locator('#awake').check();
    await start(page);
    await training(page);
    const screens = (count) => until(`${count} screens`, 5, async () => (await page.evaluate('power.screens')) === count);
    await screens(1);
    await page.evaluate('power.plug(false)');
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await says(page, '#notice', /battery/);
    await screens(0);
    await page.evaluate('power.plug(true)');
    await training(page);
    await page.locator('#battery').uncheck();
    await page.evaluate('power.plug(false)');
    expect((await phase(page)) === 'training', 'it pauses though it was told not to');
  });

  await suite.check('it says what became of training in the background', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await until('tokens', 60, async () => ((await snapshot(page))?.tokens ?? 0) > 0);
    // A browser without a window hides no tab, so the page is told that it is.
    const hide = (hidden) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    await hide(true);
    await page.waitForTimeout(6_000);
    await hide(false);
    await says(page, '#notice', /in the background, for \d+\ss, it trained [\d,]+ tokens a second/);
  });

  await suite.check('a second tab takes a back seat, and takes over when asked to', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await training(page);
    const { me } = await snapshot(page);
    const second = await page.context().newPage();
    await second.goto(`${suite.url}?device=cpu`);
    await second.locator('#other-tab:visible').waitFor({ timeout: 5_000 });
    expect(await second.locator('#start').isDisabled(), 'the second can start');
    await second.locator('#take-over').click();
    await second.locator('#start:enabled').click();
    await training(second);
    expect((await snapshot(second)).me === me, 'it has another name');
    await says(page, '#other-tab-words', /has stopped/);
    expect((await snapshot(page)) === undefined, 'the first goes on');
    await second.close();
    await page.locator('#start:enabled').waitFor({ timeout: 5_000 });
  });

  await suite.check('visits are summed up, kept and forgotten', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await until('a loss', 60, async () => (await snapshot(page))?.losses.length);
    await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
    await page.locator('#stop').click();
    const { bulk_direct: direct, bulk_coordinator: rest } = await snapshot(page);
    await page.reload();
    const [{ down }] = JSON.parse(await page.evaluate(() => localStorage.getItem('tributary-visits')));
    // Beside blobs there is little, and nothing counts twice.
    expect(down >= direct + rest && down < 1.2 * (direct + rest), `${down} bytes for ${direct + rest} of blobs`);
    await says(page, '#visits-sentence', /Visits: 1\./);
    await page.locator('#chart canvas:visible').waitFor({ timeout: 10_000 });
    await page.locator('#visits-forget').click();
    await page.reload();
    await page.locator('#visits-empty:visible').waitFor({ timeout: 5_000 });
    await page.locator('#loss-empty:visible').waitFor({ timeout: 5_000 });
  });
}
