// What goes wrong, provoked for real: each with a sentence and a button that helps. The last check ends the coordinator.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch, launchProfile, snapshot, start, until } from '../launch.mjs';
import { audit } from './access.mjs';
import { expect, phase, says, training } from './suite.mjs';

const HOUR = 3_600_000;

const trouble = (page, kind) => page.locator(`[data-trouble="${kind}"]:visible`).waitFor({ timeout: 20_000 });
const gone = (page, kind) => page.locator(`[data-trouble="${kind}"]`).waitFor({ state: 'detached', timeout: 30_000 });
const press = (page, kind) => page.locator(`[data-trouble="${kind}"] button`).click();

/** Adds its checks to the suite. */
export default async function checks(suite) {
  const bare = await launch(['--disable-blink-features=WebGPU'], []);
  await suite.check('without WebGPU the processor trains, and the page says what to do', async (page, complaints) => {
    await page.goto(suite.url);
    await start(page);
    await training(page);
    await trouble(page, 'gpu');
    await audit(page, 'no-gpu');
    await press(page, 'gpu');
    await until('it began anew', 60, async () => (await phase(page)) !== 'training');
    await training(page);
    expect(complaints.length === 0, 'it complained');
  }, { browser: bare });
  await bare.close();

  const shaky = await launch();
  await suite.check('a lost device is opened again, and training goes on', async (page) => {
    await page.goto(`${suite.url}?device=gpu`);
    await start(page);
    await until('the device', 90, async () => (await snapshot(page))?.device);
    await (await shaky.newBrowserCDPSession()).send('Browser.crashGpuProcess');
    await says(page, '#notice', /device stopped working.*opened again/s, 90);
    await audit(page, 'lost-device');
    await until('tokens', 120, async () => (await snapshot(page)).tokens > 0);
  }, { browser: shaky });
  await shaky.close();

  // 6 MB are too little for the network part, 26 MB for the trainer.
  for (const pages of [100, 400]) {
    const small = await launch([`--js-flags=--wasm-max-mem-pages=${pages}`]);
    await suite.check(`with memory for ${pages} pages of wasm it gives up, says so and lets go`, async (page) => {
      await page.goto(`${suite.url}?device=cpu`);
      await start(page);
      await says(page, '#error', /reload the page/, 90);
      await audit(page, `memory-${pages}`);
      await page.locator('#start:enabled').waitFor();
      await Promise.all([page.waitForEvent('load'), page.locator(pages === 100 ? '#start' : '#reload').click()]);
    }, { browser: small });
    await small.close();
  }

  await suite.check('offline before Start nothing begins, and it goes on afterwards', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await page.locator('#start:enabled').waitFor();
    await page.context().setOffline(true);
    await trouble(page, 'offline');
    await start(page);
    await page.locator('#error:visible').waitFor({ timeout: 15_000 });
    await audit(page, 'offline');
    await page.context().setOffline(false);
    await gone(page, 'offline');
    await page.locator('#start').click();
    await training(page);
    expect(!(await page.locator('#error').isVisible()), 'the error stays');
  });

  await suite.check('offline while it trains, it trains on', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await training(page);
    const before = await until('tokens', 60, async () => (await snapshot(page)).tokens);
    await page.context().setOffline(true);
    await trouble(page, 'offline');
    await until('more tokens', 30, async () => (await snapshot(page)).tokens > before);
    await page.context().setOffline(false);
    await gone(page, 'offline');
    await until('the coordinator', 60, async () => (await snapshot(page)).link.kind === 'online');
  });

  await suite.check('storage denied: it says that the name will not last, and trains', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-profile-'));
    await mkdir(join(folder, 'Default'));
    // What "block all cookies" in the settings writes; the browser then denies every kind of storage.
    const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
    await writeFile(join(folder, 'Default/Preferences'), JSON.stringify(settings));
    const context = await launchProfile(folder);
    try {
      const page = await context.newPage();
      await page.goto(`${suite.url}?device=cpu`);
      const denied = await page.evaluate(() => {
        try {
          return !localStorage;
        } catch {
          return true;
        }
      });
      expect(denied, 'the browser allows storage');
      await trouble(page, 'storage');
      await audit(page, 'storage');
      await start(page);
      await training(page);
      await Promise.all([page.waitForEvent('load'), press(page, 'storage')]);
    } finally {
      await context.close();
      await rm(folder, { recursive: true });
    }
  });

  await suite.check('an old page is told to reload, and the reload helps', async (page) => {
    const newer = async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), version: 999 } });
    };
    await page.route('**/run.json', newer);
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await page.locator('#error:visible').filter({ hasText: 'version 999' }).waitFor({ timeout: 60_000 }).catch(() => {});
    expect(/999/.test(await page.locator('#error').textContent()), `it says: ${await page.locator('#error').textContent()}`);
    await audit(page, 'old');
    await page.unroute('**/run.json', newer);
    await Promise.all([page.waitForEvent('load'), page.locator('#reload').click()]);
    await page.locator('#start:enabled').click();
    await training(page);
  });

  await suite.check('a wrong clock is told', async (page) => {
    await page.addInitScript((hour) => {
      const right = Date.now;
      Date.now = () => right() - 2 * hour;
    }, HOUR);
    await page.goto(suite.url);
    await trouble(page, 'clock');
    const words = await page.locator('[data-trouble="clock"]').textContent();
    expect(/2.h behind/.test(words), words);
    await audit(page, 'clock');
  });

  await suite.check('the diagnostics hold what helps and no secret', async (page) => {
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await training(page);
    const { me } = await snapshot(page);
    await page.locator('#diagnostics summary').click();
    await page.locator('#copy').click();
    const text = await until('the text', 5, () => page.evaluate(() => navigator.clipboard.readText()));
    for (const fact of ['browser: "Mozilla', '"kind":"training"', 'Page test', 'webgpu: ']) {
      expect(text.includes(fact), `it lacks ${fact}: ${text}`);
    }
    const secret = await page.evaluate(
      () =>
        new Promise((resolve) => {
          indexedDB.open('tributary').onsuccess = ({ target }) => {
            const request = target.result.transaction('identity').objectStore('identity').get('secret');
            request.onsuccess = () => resolve([...request.result]);
          };
        }),
    );
    const forms = [Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64'), secret.join(), me];
    expect(secret.length === 32, 'there is no secret to look for');
    for (const form of forms) expect(!text.includes(form), `it holds ${form}`);
    expect(!text.includes('127.0.0.1'), 'it holds an address');
  });

  await suite.check('without a coordinator it trains on and says so', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await training(page);
    await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
    suite.stopCoordinator();
    await trouble(page, 'away');
    const { tokens } = await snapshot(page);
    await until('more tokens', 30, async () => (await snapshot(page)).tokens > tokens);
    expect((await phase(page)) === 'training', `it is ${await phase(page)}`);
    await audit(page, 'away');
    await press(page, 'away');
    await page.locator('#stop').click();
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await page.locator('#consent').uncheck();
    await start(page);
    await page.locator('#error:visible').waitFor({ timeout: 30_000 });
    await audit(page, 'gone');
  });
}
