// What the page must do for a person, in a real browser against a real coordinator, whose address is
// the argument. Prints a line a check and at the end `N passed, N failed`.

import { readFile } from 'node:fs/promises';
import { launch, snapshot, start, until } from './launch.mjs';

/** Somebody's backup, as the program wrote it. */
const OTHER = 'tributary-identity-1:46WPtSJH9Mc1rNbRaWo6k2v6Bm8dc1FuCFxS2n6gFo7M2ZwPH';

const url = process.argv[2];
const browser = await launch();
let passed = 0;
let failed = 0;

/** One check in a profile of its own. */
async function check(name, body) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  try {
    await body(page, complaints);
    passed += 1;
    console.log(`ok     ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.message}`);
    for (const complaint of complaints) console.log(`       the page said: ${complaint}`);
  } finally {
    await context.close();
  }
}

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

const phase = async (page) => (await snapshot(page))?.phase.kind;
const training = (page) => until('training', 120, async () => (await phase(page)) === 'training');

await check('the page stands before any wasm has loaded', async (page, complaints) => {
  await page.route('**/*.wasm', () => {});
  await page.goto(url);
  expect(await page.locator('h1').isVisible(), 'there is no heading');
  await page.locator('#start:enabled').waitFor({ timeout: 10_000 });
  expect(complaints.length === 0, 'it complained');
});

await check('nothing is computed without consent', async (page) => {
  await page.goto(url);
  await page.locator('#start:enabled').click();
  await page.locator('#consent-note:visible').waitFor({ timeout: 5_000 });
  expect((await phase(page)) === undefined, 'a peer was made');
});

await check('the content policy lets nothing foreign in', async (page) => {
  const response = await page.goto(url);
  const policy = response.headers()['content-security-policy'] ?? (await metaPolicy(page));
  expect(policy, 'there is no Content-Security-Policy');
  expect(!/'unsafe-(inline|eval)'/.test(policy), `it allows too much: ${policy}`);
  const blocked = await page.evaluate(async () => {
    const violation = new Promise((resolve) => {
      addEventListener('securitypolicyviolation', () => resolve(true), { once: true });
      setTimeout(() => resolve(false), 2_000);
    });
    const script = document.createElement('script');
    script.textContent = 'window.foreign = true';
    document.body.append(script);
    return (await violation) && window.foreign === undefined;
  });
  expect(blocked, 'an inline script ran');
});

function metaPolicy(page) {
  return page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute('content', { timeout: 1_000 });
}

await check('it trains on the processor where the adapter is an emulation, and says so', async (page, complaints) => {
  await page.goto(url);
  await start(page);
  await training(page);
  const { device } = await snapshot(page);
  expect(device.backend === 'cpu', `it chose ${device.backend}`);
  expect(device.note, 'it does not say why');
  await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
  await page.locator('#device-note:visible').waitFor({ timeout: 5_000 });
  expect(complaints.length === 0, 'it complained');
});

await check('a round is folded and credited, and the weights are named', async (page) => {
  await page.goto(`${url}?device=cpu`);
  await start(page);
  const row = await until('a credited round', 120, async () =>
    (await snapshot(page))?.rounds.find((one) => one.verdict.kind === 'credited' && one.state),
  );
  const { rounds } = await (await fetch(`${url}api/rounds`)).json();
  const truth = rounds.find((one) => one.round === row.round);
  expect(truth.after === row.state, `the tab holds ${row.state}, the coordinator ${truth.after}`);
  expect((await snapshot(page)).credits > 0, 'it earned nothing');
  const kept = await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    return (await (await root.getFileHandle('error-feedback')).getFile()).size;
  });
  expect(kept > 1_000_000, `it keeps ${kept} bytes of what its update left out`);
});

await check('two contributors link directly', async (page) => {
  const elsewhere = await browser.newContext();
  const other = await elsewhere.newPage();
  for (const one of [page, other]) {
    await one.goto(`${url}?device=cpu`);
    await start(one);
  }
  const linked = async (one) => (await snapshot(one))?.peers?.some((peer) => peer.path === 'direct');
  await until('a direct link', 60, async () => (await linked(page)) && (await linked(other)));
  await elsewhere.close();
});

await check('Stop answers at once, and Start goes on as the same contributor', async (page) => {
  await page.goto(`${url}?device=cpu`);
  await start(page);
  await training(page);
  const { me } = await snapshot(page);
  await page.locator('#stop').click();
  // 200 ms are the goal with a machine to itself; this one is shared with the rest of the tests.
  await until('idle', 2, async () => (await phase(page)) === 'idle');
  await page.locator('#start').click();
  await training(page);
  expect((await snapshot(page)).me === me, 'it has another name');
});

await check('a reloaded tab is the same contributor', async (page) => {
  await page.goto(`${url}?device=cpu`);
  await start(page);
  const { me } = await until('a name', 60, () => snapshot(page));
  await page.reload();
  expect(await page.locator('#consent').isChecked(), 'the consent was forgotten');
  await page.locator('#start:enabled').click();
  const again = await until('a name', 60, () => snapshot(page));
  expect(again.me === me, `it was ${me} and is ${again.me}`);
});

/** The name that the page shows, in full. */
const named = (page) => until('a name', 30, () => page.locator('#identity-name').getAttribute('title'));
const backup = (page, state) => page.locator(`#identity[data-backup="${state}"]`).waitFor({ timeout: 15_000 });

/** Presses a button that saves a backup, and gives the file's text. */
async function save(page, button) {
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 15_000 }), button.click()]);
  expect(/^tributary-backup-\w{8}\.txt$/.test(download.suggestedFilename()), download.suggestedFilename());
  return readFile(await download.path(), 'utf8');
}

/** Pastes a backup and presses Restore. */
async function paste(page, text) {
  await page.locator('#restore:enabled').click();
  await page.locator('#restore-text').fill(text);
  await page.locator('#restore-do').click();
}

await check('a backup is offered before anything is earned, and is the same contributor elsewhere', async (page, complaints) => {
  await page.goto(url);
  await backup(page, 'none');
  expect(await page.locator('#save').isDisabled(), 'there is nothing to save yet');
  await page.locator('#consent:enabled').check();
  await backup(page, 'missing');
  expect((await phase(page)) === undefined, 'it did not wait for Start');
  const me = await named(page);
  const text = await save(page, page.locator('#save'));
  await backup(page, 'saved');
  await page.reload();
  await backup(page, 'saved');

  const elsewhere = await browser.newContext();
  const other = await elsewhere.newPage();
  await other.goto(`${url}?device=cpu`);
  await other.locator('#restore:enabled').click();
  const file = { name: 'kept.txt', mimeType: 'text/plain', buffer: Buffer.from(text.replaceAll('\n', '\r\n')) };
  await other.locator('#restore-file').setInputFiles(file);
  await Promise.all([other.waitForEvent('load'), other.locator('#restore-do').click()]);
  await backup(other, 'saved');
  expect((await named(other)) === me, `it was ${me} and shows ${await named(other)}`);
  await start(other);
  const joined = await until('a snapshot', 60, () => snapshot(other));
  expect(joined.me === me, `it was ${me} and trains as ${joined.me}`);
  await elsewhere.close();
  expect(complaints.length === 0, 'it complained');
});

await check('a backup with a typing error changes nothing and says why', async (page) => {
  await page.goto(url);
  await page.locator('#consent:enabled').check();
  const me = await named(page);
  for (const [text, words] of [
    ['my shopping list', 'not a backup'],
    [OTHER.replace('PH', 'Ph'), 'typing error'],
    [OTHER.replace('-1:', '-2:'), 'format 2'],
  ]) {
    await paste(page, text);
    await page.locator('#restore-error:visible').filter({ hasText: words }).waitFor({ timeout: 15_000 });
    await page.locator('#restore-cancel').click();
    await until('the text is gone', 5, async () => (await page.locator('#restore-text').inputValue()) === '');
  }
  await page.reload();
  await backup(page, 'missing');
  expect((await named(page)) === me, 'it is somebody else');
});

await check('an identity that took part is replaced after one question, and can still be saved', async (page) => {
  await page.goto(`${url}?device=cpu`);
  await start(page);
  await until('a round', 120, async () => (await snapshot(page))?.rounds.length);
  const me = await named(page);
  await paste(page, `${OTHER.slice(0, 40)}\n  ${OTHER.slice(40)}`);
  await page.locator('#restore-warning:visible').waitFor({ timeout: 15_000 });
  expect((await phase(page)) === 'training', 'it stopped before the answer');
  await Promise.all([page.waitForEvent('load'), page.locator('#restore-do').click()]);
  await backup(page, 'saved');
  const next = await named(page);
  expect(next !== me, 'it is the same as before');

  const text = await save(page, page.locator('#earlier button'));
  expect(text.includes(me), 'the saved backup is of somebody else');
  await paste(page, text);
  await page.locator('#restore-warning:visible').waitFor({ timeout: 15_000 });
  await Promise.all([page.waitForEvent('load'), page.locator('#restore-do').click()]);
  expect((await named(page)) === me, 'it did not come back');
  const names = await page.locator('#earlier .id').evaluateAll((all) => all.map((one) => one.title));
  expect(names.join() === next, `earlier ones: ${names.join()}`);
});

await check('how much others may take is chosen in words and remembered', async (page) => {
  await page.goto(url);
  const choice = page.locator('#upload');
  expect((await choice.inputValue()) === 'some', `it begins with ${await choice.inputValue()}`);
  const words = await choice.locator('option').allTextContents();
  expect(words.length === 4 && words.every((text) => /MB\/s|KB\/s|No limit/.test(text)), words.join('; '));
  await choice.selectOption('little');
  await page.reload();
  expect((await choice.inputValue()) === 'little', 'it was forgotten');
});

await check('two tabs of one browser do not train twice', async (page) => {
  await page.goto(url);
  await page.locator('#start:enabled').waitFor();
  const second = await page.context().newPage();
  await second.goto(url);
  await second.locator('#other-tab:visible').waitFor({ timeout: 5_000 });
  expect(await second.locator('#start').isDisabled(), 'the second can start');
});

await check('it fits a narrow screen', async (page) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await page.goto(url);
  const { scroll, width } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: innerWidth }));
  expect(scroll <= width, `it is ${scroll} wide in ${width}`);
});

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
