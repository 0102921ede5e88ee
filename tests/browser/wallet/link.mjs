// Linking: what is signed, who refuses, and what a run without a chain does.

import { until } from '../launch.mjs';
import { expect } from '../page/suite.mjs';
import { account, viem } from './world.mjs';

export default async function checks(stage) {
  const { main, world, page, suite } = stage;

  await suite.check('where there is no wallet the page says so, and loads nothing for one before it is asked', async (other) => {
    const parts = [];
    other.on('request', (request) => /wallet/.test(request.url()) && parts.push(request.url()));
    await other.goto(world.url);
    await other.locator('#consent:enabled').check();
    await other.locator('#wallet-state:visible').filter({ hasText: 'waits under your identity' }).waitFor();
    expect(parts.length === 0, `it loaded ${parts.join()}`);
    await other.locator('#wallet-link').click();
    await other.locator('#wallets-none:visible').waitFor({ timeout: 15_000 });
    await other.keyboard.press('Escape');
    await other.locator('#wallet-link:enabled').waitFor({ timeout: 5_000 });
    expect(!(await other.locator('#wallet-trouble').isVisible()), 'it complains of a choice that was cancelled');
    const focused = () => other.evaluate(() => document.activeElement?.id);
    await until('the focus is back', 5, async () => (await focused()) === 'wallet-link');
  });

  await stage.check('a locked wallet and a declined signature each get a sentence and a way on', async () => {
    await stage.train();
    await stage.rounds(1);
    await stage.press('#wallet-link');
    await page.locator('#wallets button').nth(1).waitFor({ timeout: 15_000 });
    await stage.picture('choose');
    await stage.choose(main);
    await stage.trouble('Unlock it');
    main.accounts = [1];
    main.instead = (method) => {
      if (method === 'personal_sign') throw Object.assign(new Error('User rejected the request.'), { code: 4001 });
    };
    await stage.press('#wallet-help');
    await stage.choose(main);
    await stage.trouble('You declined in Test Wallet');
    await stage.picture('declined');
  });

  await stage.check('a signature by another account, and a question that is open already, are told', async () => {
    main.instead = (method, [text]) => (method === 'personal_sign' ? account(5).signMessage({ message: { raw: text } }) : undefined);
    await stage.link();
    await stage.trouble(/Another account than 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 signed/);
    main.instead = (method) => {
      if (method === 'personal_sign') throw Object.assign(new Error('pending'), { code: -32002 });
    };
    await stage.press('#wallet-help');
    await stage.choose(main);
    await stage.trouble('has a question open already');
  });

  await stage.check('a nonce that is not the coordinator’s, or was used, is refused in words', async () => {
    const issued = Math.floor(Date.now() / 1000);
    await page.route('**/api/link/nonce', (route) => route.fulfill({ json: { nonce: 'madeupmadeup', issued } }));
    await stage.link();
    await stage.trouble('ask for a new text here and sign that');
    await page.unroute('**/api/link/nonce');
  });

  await stage.check('a wallet is linked by one text, on no chain too, and the page says why nothing can be claimed', async () => {
    let text;
    main.instead = (method, params) => {
      if (method === 'personal_sign') text = viem.hexToString(params[0]);
    };
    const [posted] = await Promise.all([page.waitForRequest('**/api/link'), stage.link()]);
    await stage.says('#wallet-done', 'Linked');
    const peer = await stage.peer();
    const words = [`127.0.0.1:${new URL(world.url).port} wants you to sign in`, account(1).address, `urn:libp2p:peer:${peer}`, 'moves no funds and gives no approval'];
    for (const word of words) expect(text.includes(word), `the text does not say ${word}: ${text}`);
    await stage.says('#wallet-off', 'tributary chain deploy');
    expect(!main.asked.includes('eth_sendTransaction'), 'it wanted a transaction');
    // The same proof again.
    const again = await fetch(`${world.url}api/link`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: posted.postData() });
    expect(again.status >= 400 && (await again.json()).why, 'a proof was taken twice');
    await until('the log has it', 120, async () => (await world.get(`api/account/${peer}`)).wallet?.address === account(1).address);
    await stage.says('#wallet-state', `${account(1).address} gets what you earn`, 60);
    await stage.press('#wallet-check');
    await stage.says('#wallet-state', 'this tab read it in all', 60);
    await stage.picture('linked');
  });

  await stage.check('a program gets its wallet by a code that the page signs for', async () => {
    const peer = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5';
    const { code } = await world.get('api/link/code', { peer });
    await page.evaluate((code) => {
      location.hash = `link=${code}`;
    }, code);
    await stage.says('#wallet-state', 'UKPH5 asks for a wallet');
    await stage.picture('program');
    await stage.link();
    await stage.says('#wallet-done', 'compare the address');
    const { text, signature, contract } = await world.get(`api/link/code/${code}`);
    expect(text.includes(`urn:libp2p:peer:${peer}`), text);
    expect(!contract && (await viem.verifyMessage({ address: account(1).address, message: text, signature })), 'the signature is not the wallet’s');
    await page.evaluate(() => {
      location.hash = '';
    });
    await stage.says('#wallet-state', 'gets what you earn');
  });
}
