// Everybody can use it: no violation that axe finds on any screen, in light and dark, wide and narrow; every
// control is reached and worked by keyboard, and shows that it has the focus.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { snapshot, start, until } from '../launch.mjs';
import { expect, phase, says, training } from './suite.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The widths in pixels that each screen is looked at in. */
const WIDTHS = [390, 1440];
/** Everything that takes the focus by Tab, if it is visible and enabled. */
const CONTROLS = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
/** More presses of Tab than the page has controls. */
const MOST_TABS = 80;

/** Has axe look at what is shown now; an error that names every violation. With `folder` in SCREENS it takes pictures. */
export async function audit(page, screen) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      await picture(page, `${screen}-${colorScheme}-${width}`);
      if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const { id, nodes } of violations) {
        found.push(`${colorScheme} ${width}: ${id} at ${nodes.map((node) => node.target.join(' ')).join(', ')}`);
      }
    }
  }
  expect(found.length === 0, `${screen}: ${found.join('; ')}`);
}

/** For people who look at every screen: SCREENS names a folder. */
async function picture(page, name) {
  const folder = process.env.SCREENS;
  if (!folder) return;
  // The chart draws itself anew for its new width.
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

/** Goes through the page, or its open dialogue, by Tab, past its end and on from its beginning: marks what had the
 * focus, and gives what of it did not show that. */
async function tabThrough(page) {
  const seen = new Set();
  const unseen = [];
  for (let presses = 0; presses < MOST_TABS; presses += 1) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return {};
      element.dataset.reached = 'yes';
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const name = element.id || `${element.tagName} ${element.textContent?.trim()}`;
      return { name, outlined: outlineStyle !== 'none' && outlineWidth !== '0px' };
    });
    if (seen.has(focus.name)) break;
    if (focus.name === undefined) continue;
    seen.add(focus.name);
    if (!focus.outlined) unseen.push(focus.name);
  }
  return unseen;
}

/** Every control that is there must have been reached. */
async function expectReachable(page, screen) {
  await page.evaluate(() => document.querySelectorAll('[data-reached]').forEach((one) => delete one.dataset.reached));
  const unseen = await tabThrough(page);
  const missed = await page.evaluate((controls) => {
    const open = document.querySelector('dialog[open]');
    return [...(open ?? document).querySelectorAll(controls)]
      .filter((one) => one.checkVisibility() && !one.disabled && !one.dataset.reached)
      .map((one) => one.id || one.textContent);
  }, CONTROLS);
  expect(missed.length === 0, `${screen}: not reached by Tab: ${missed.join(', ')}`);
  expect(unseen.length === 0, `${screen}: does not show that it has the focus: ${unseen.join(', ')}`);
}

/** Tabs to the element with this id. */
async function tabTo(page, id) {
  for (let presses = 0; presses < MOST_TABS; presses += 1) {
    if (await page.evaluate((id) => document.activeElement?.id === id, id)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab never came to ${id}`);
}

const focused = (page) => page.evaluate(() => document.activeElement?.id);

/** Adds its checks to the suite. */
export default async function checks(suite) {
  await suite.check('axe finds nothing on the screens before training', async (page) => {
    await page.goto(suite.url);
    await page.locator('#start:enabled').waitFor();
    await audit(page, 'first');
    await expectReachable(page, 'first');
    await page.locator('#start').click();
    await page.locator('#consent-note:visible').waitFor();
    await audit(page, 'unasked');
    await page.locator('#restore:enabled').click();
    await page.locator('#restore-text').fill('nonsense');
    await page.locator('#restore-do').click();
    await page.locator('#restore-error:visible').waitFor();
    await audit(page, 'restore');
    await expectReachable(page, 'restore');
  });

  await suite.check('axe finds nothing while the trainer loads', async (page) => {
    await page.route('**/*trainer*.wasm', () => {});
    await page.goto(suite.url);
    await start(page);
    await says(page, '#state', /./);
    await audit(page, 'loading');
  });

  await suite.check('axe finds nothing while it trains, and afterwards', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await until('a credited round', 120, async () =>
      (await snapshot(page))?.rounds.some((one) => one.verdict.kind === 'credited'),
    );
    await page.locator('#loss-figure:visible').waitFor();
    await page.locator('#loss-figure summary').click();
    await audit(page, 'training');
    await expectReachable(page, 'training');
    await page.locator('#stop').click();
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await audit(page, 'stopped');
  });

  await suite.check('everything is worked by keyboard', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await page.locator('#start:enabled').waitFor();
    await tabTo(page, 'consent');
    await page.keyboard.press('Space');
    expect(await page.locator('#consent').isChecked(), 'Space does not agree');
    await tabTo(page, 'upload');
    await page.keyboard.press('ArrowUp');
    expect((await page.locator('#upload').inputValue()) === 'little', 'ArrowUp does not choose');
    await tabTo(page, 'start');
    await page.keyboard.press('Enter');
    await training(page);
    expect((await focused(page)) === 'stop', `after Start the focus is at ${await focused(page)}`);
    await page.keyboard.press('Enter');
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await until('the focus back at Start', 5, async () => (await focused(page)) === 'start');
    await tabTo(page, 'restore');
    await page.keyboard.press('Enter');
    expect(await page.locator('#restore-dialog').isVisible(), 'Enter does not open the dialogue');
    await page.keyboard.press('Escape');
    expect(!(await page.locator('#restore-dialog').isVisible()), 'Escape does not close the dialogue');
    expect((await focused(page)) === 'restore', `after the dialogue the focus is at ${await focused(page)}`);
  });
}
