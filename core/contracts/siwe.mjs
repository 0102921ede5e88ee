// Reads links' texts as others read them: viem, and the parser that is made of the grammar of ERC-4361 itself.
//
// Enters on stdin: a list of {text, domain, nonce, address, time} and perhaps a signature, where domain, nonce, address and
// time (seconds) are what a site that asked for the text would hold it against. Argument: a node, which viem asks whether
// there is a contract at an address. Leaves: for each text what viem and the parser read, each null where it refuses, and
// whether viem holds the signature good.
import { text as whole } from 'node:stream/consumers';
import { ParsedMessage } from '@signinwithethereum/siwe-parser';
import { createPublicClient, http } from 'viem';
import { parseSiweMessage, validateSiweMessage } from 'viem/siwe';

const client = createPublicClient({ transport: http(process.argv[2]) });
const seconds = (date) => date && new Date(date).getTime() / 1000;

/** What a message says, in one form for both; undefined is left out of JSON. */
const said = ({ chainId, issuedAt, expirationTime, notBefore, scheme, ...message }) => ({
  ...Object.fromEntries(['domain', 'address', 'statement', 'uri', 'version', 'nonce', 'resources', 'requestId'].map((name) => [name, message[name]])),
  ...{ chain: chainId, issued: seconds(issuedAt), expires: seconds(expirationTime), notBefore: seconds(notBefore), scheme },
});

function viem({ text, time, ...expected }) {
  const message = parseSiweMessage(text);
  return validateSiweMessage({ message, ...expected, time: new Date(time * 1000) }) ? said(message) : null;
}

function parser({ text }) {
  try {
    return said(new ParsedMessage(text));
  } catch {
    return null;
  }
}

async function read({ signature, ...asked }) {
  const { text: message, time, ...expected } = asked;
  const terms = { message, signature, ...expected, time: new Date(time * 1000) };
  return { viem: viem(asked), parser: parser(asked), signed: signature && (await client.verifySiweMessage(terms)) };
}

console.log(JSON.stringify(await Promise.all(JSON.parse(await whole(process.stdin)).map(read))));
