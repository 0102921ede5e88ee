// What the parts of the page's suite share: one check in a profile of its own, and words for what it sees.

import { snapshot, until } from '../launch.mjs';

/** Counts checks and prints a line each. */
export class Suite {
  passed = 0;
  failed = 0;

  /** `url`: the coordinator's page. `stopCoordinator`: ends it, for the last check. */
  constructor(browser, url, stopCoordinator) {
    Object.assign(this, { browser, url, stopCoordinator });
  }

  /** Runs `body(page, complaints)` in a fresh profile; `options` are the browser context's. */
  async check(name, body, { browser = this.browser, ...options } = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const complaints = [];
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    try {
      await body(page, complaints);
      this.passed += 1;
      console.log(`ok     ${name}`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAILED ${name}: ${error.message}`);
      for (const complaint of complaints) console.log(`       the page said: ${complaint}`);
    } finally {
      await context.close();
    }
  }
}

/** Fails the check with `message` unless `condition` holds. */
export function expect(condition, message) {
  if (!condition) throw new Error(message);
}

/** What the contributor does, by the snapshot. */
export const phase = async (page) => (await snapshot(page))?.phase.kind;

/** Waits until it trains. */
export const training = (page) => until('training', 120, async () => (await phase(page)) === 'training');

/** Waits until the element shows text that matches. */
export const says = (page, selector, words, seconds = 15) =>
  page.locator(`${selector}:visible`).filter({ hasText: words }).waitFor({ timeout: seconds * 1000 });
