// Linking: what is signed, who refuses, and what a run without a chain does.

import { until } from '../launch.mjs';
import { expect } from '../page/suite.mjs';
import { account, ParsedMessage, parseSiweMessage, viem } from './world.mjs';

/** Some other contributor. */
const OTHER = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5';

/** A link's proof as a program would send it, with a signature by nobody in the contributor's place. */
function proof(text, signature) {
  const sized = (bytes) => {
    const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  const wallet = Buffer.from(signature.slice(2), 'hex');
  return `0x${Buffer.concat([sized(Buffer.from(text)), sized(Buffer.alloc(64, 1)), Buffer.of(0), sized(wallet), Buffer.of(0)]).toString('hex')}`;
}

export default async function checks(stage) {
  const { main, world, page, suite } = stage;
  let text;

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
    await stage.picture('unlinked');
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

  await stage.check('a nonce that is not the coordinator’s is refused in words', async () => {
    // One that will have ended when the last check comes to it.
    stage.old = await world.get('api/link/nonce', {});
    const issued = Math.floor(Date.now() / 1000);
    await page.route('**/api/link/nonce', (route) => route.fulfill({ json: { nonce: 'madeupmadeup', issued } }));
    await stage.link();
    await stage.trouble('ask for a new text here and sign that');
    await page.unroute('**/api/link/nonce');
  });

  await stage.check('a wallet is linked by one text, on no chain too, and the page says why nothing can be claimed', async () => {
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
    // What the page had signed, two others read alike, and viem finds it good.
    const [one, other] = [parseSiweMessage(text), new ParsedMessage(text)];
    for (const name of ['domain', 'address', 'uri', 'nonce', 'chainId', 'statement']) expect(one[name] === other[name] && one[name], `${name} in ${text}`);
    const signature = await account(1).signMessage({ message: text });
    expect(posted.postDataJSON().proof.includes(signature.slice(2)), 'another signature was sent');
    const client = viem.createPublicClient({ transport: viem.http(world.rpc) });
    const asked = { message: text, signature, address: account(1).address, domain: new URL(world.url).host, nonce: one.nonce };
    expect(await client.verifySiweMessage(asked), 'viem refuses it');
    expect(!(await client.verifySiweMessage({ ...asked, time: one.expirationTime })), 'it never ends');
    // The same proof again.
    const again = await world.get('api/link', posted.postDataJSON()).catch(String);
    expect(/was used already/.test(again), `a proof was taken twice: ${again}`);
    await until('the log has it', 120, async () => (await world.get(`api/account/${peer}`)).wallet?.address === account(1).address);
    await stage.says('#wallet-state', `${account(1).address} gets what you earn`, 60);
    await stage.press('#wallet-check');
    await stage.says('#wallet-state', 'this tab read it in all', 60);
    await stage.picture('linked');
  });

  await stage.check('nobody gets somebody else’s earnings: neither by a code nor without the contributor’s key', async () => {
    const { code } = await world.get('api/link/code', { peer: OTHER });
    const mine = await stage.peer();
    // The page is told that the code is about another contributor than it is.
    await page.route(`**/api/link/code/${code}`, (route) => (route.request().method() === 'GET' ? route.fulfill({ json: { peer: mine } }) : route.continue()));
    await page.evaluate((code) => {
      location.hash = `link=${code}`;
    }, code);
    await stage.says('#wallet-state', 'asks for a wallet');
    await stage.link();
    await stage.trouble('about another contributor than this code');
    await page.unroute(`**/api/link/code/${code}`);
    await page.evaluate(() => {
      location.hash = '';
    });
    await stage.says('#wallet-state', 'gets what you earn');
    // With a wallet of one's own and without the key that earns.
    const { nonce, issued } = await world.get('api/link/nonce', {});
    const date = (seconds) => new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
    const thief = text
      .replace(account(1).address, account(3).address)
      .replace(/Nonce: .*/, `Nonce: ${nonce}`)
      .replace(/Issued At: .*/, `Issued At: ${date(issued)}`)
      .replace(/Expiration Time: .*/, `Expiration Time: ${date(issued + 300)}`);
    const refused = await world.get('api/link', { proof: proof(thief, await account(3).signMessage({ message: thief })) }).catch(String);
    expect(/contributor's key did not sign/.test(refused), refused);
    expect((await world.get(`api/account/${mine}`)).wallet.address === account(1).address, 'another wallet is paid');
  });

  await stage.check('a program gets its wallet by a code that the page signs for', async () => {
    const peer = OTHER;
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
