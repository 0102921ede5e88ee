// One person at one page through the whole story, and words for what it sees.

import { join } from 'node:path';
import { snapshot, start, until } from '../launch.mjs';
import { audit } from '../page/access.mjs';
import { says, training } from '../page/suite.mjs';
import { Injected, inject } from './injected.mjs';

export class Stage {
  static async open(browser, world, suite) {
    const stage = new Stage();
    const main = new Injected(world, 'Test Wallet', 'test.wallet');
    const second = new Injected(world, 'Second Wallet', 'test.second');
    const context = await browser.newContext({ viewport: { width: 1440, height: 1000 } });
    await inject(context, [main, second]);
    const page = await context.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    return Object.assign(stage, { browser, world, suite, context, page, main, second, complaints });
  }

  /** One check; those after a failed one still run, on the same page. */
  async check(name, body) {
    this.complaints.length = 0;
    try {
      await body();
      this.suite.passed += 1;
      console.log(`ok     ${name}`);
    } catch (error) {
      this.suite.failed += 1;
      console.log(`FAILED ${name}: ${error.message.split('\n')[0]}`);
      for (const complaint of this.complaints) console.log(`       the page said: ${complaint}`);
      console.log(`       the section: ${(await this.text()).slice(0, 1500)}`);
      console.log(`       the page: ${(await this.text('#part')).slice(0, 300)} ${await this.text('#troubles')}`);
      const { phase, rounds, earnings } = (await snapshot(this.page).catch(() => undefined)) ?? {};
      console.log(`       the contributor: ${JSON.stringify({ phase, rounds: rounds?.slice(-3), earnings }).slice(0, 1500)}`);
      for (const line of await this.world.said('serve', 20).catch(() => [])) console.log(`       the coordinator: ${line}`);
    }
    for (const wallet of [this.main, this.second]) wallet.instead = () => undefined;
    if (await this.page.locator('#wallet-dialog[open]').count()) await this.page.locator('#wallet-cancel').click();
  }

  text = async (part = '#wallet') => (await this.page.locator(part).innerText({ timeout: 1_000 }).catch(() => '')).replaceAll(/\s+/g, ' ');

  says = (selector, words, seconds = 30) => says(this.page, selector, words, seconds);

  /** Opens the page anew and trains. */
  async train() {
    await this.page.goto(`${this.world.url}?device=cpu`);
    await start(this.page);
    await training(this.page);
  }

  /** The number of the newest round that is settled. */
  settled = async () => (await this.world.get(`api/account/${await this.peer()}`)).round ?? -1;

  peer = async () => (await until('a snapshot', 60, () => snapshot(this.page))).me;

  async rounds(more) {
    const from = await this.settled();
    await until(`${more} more rounds`, 60 * more + 60, async () => (await this.settled()) >= from + more);
  }

  /** Presses a button once it can be. */
  press = (selector) => this.page.locator(`${selector}:enabled:visible`).click({ timeout: 30_000 });

  async choose(wallet) {
    await this.page.locator('#wallets button', { hasText: wallet.name }).click({ timeout: 15_000 });
  }

  /** Presses Link and chooses. */
  async link(wallet = this.main) {
    await this.press('#wallet-link');
    await this.choose(wallet);
  }

  /** Presses Check and waits for what comes of it. */
  async look() {
    await this.press('#wallet-check');
    // What was there before is shown until it begins.
    await this.page.locator('#wallet-check:enabled').waitFor({ timeout: 60_000 });
    await this.page.locator('#wallet-claims:visible').waitFor({ timeout: 60_000 });
  }

  /** What the five ticks say. */
  ticks = () => this.page.locator('#wallet-ticks li').evaluateAll((all) => all.map((one) => one.dataset.tick));

  /** Fails unless the trouble's sentence comes, and goes on by its button if `help`. */
  async trouble(words, help = false) {
    await this.says('#wallet-trouble', words);
    await this.page.locator('#wallet-help:visible').waitFor({ timeout: 5_000 });
    if (help) await this.press('#wallet-help');
  }

  /** Looks whether everybody can use what is shown now; takes pictures of the section alone where they are wanted. */
  async picture(name) {
    await audit(this.page, `wallet-${name}`);
    for (const [size, width] of [['wide', 1440], ['narrow', 390]]) {
      for (const colorScheme of ['light', 'dark']) {
        await this.page.setViewportSize({ width, height: 1000 });
        await this.page.emulateMedia({ colorScheme });
        const what = (await this.page.locator('#wallet-dialog[open]').count()) ? '#wallet-dialog' : '#wallet';
        const folder = process.env.SCREENS;
        if (folder) await this.page.locator(what).screenshot({ path: join(folder, `wallet-${name}-${size}-${colorScheme}.png`) });
      }
    }
    await this.page.setViewportSize({ width: 1440, height: 1000 });
    await this.page.emulateMedia({ colorScheme: 'light' });
  }
}
