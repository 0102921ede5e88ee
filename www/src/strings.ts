// Every text that the page shows, in one place. Numbers are formatted before they come here.

/** What stands in `index.html`; the build puts `page.key` where that file says `{{key}}`. Scripts don't use it: they would
 * load all of it once more. */
export const page = {
  title: 'Tributary: train a language model together',
  description: 'Browser tabs and gaming PCs train one language model together and are credited for it.',
  intro1: 'Browser tabs and gaming PCs train one language model together, each on a share of the same text.',
  intro2: 'Every round your work is checked, folded into the shared model and credited to you.',
  noscript: 'This page needs JavaScript and WebAssembly to train. Allow both for this site, then reload.',
  part: 'Your part',
  consentTitle: 'What this asks of your machine',
  consentCompute:
    'While it trains, this tab keeps your graphics card or processor busy: expect warmth, fan noise and a faster draining battery.',
  consentEarns:
    'What it earns: credits, a share of each round’s pool for work that was checked. They are entries in this run’s public ledger, and nobody promises what they are worth.',
  consentNetwork:
    'What leaves this machine: its network address, which the coordinator and other contributors see, as with any site; a random contributor name kept in this browser; the name of the device that computes; the computed updates, a few megabytes a round; and parts of the shared model, which this tab passes on to other contributors.',
  consentNothing: 'No account, no files, no other personal data. You can stop at any time.',
  consentLabel: 'I agree that this tab computes for the shared model while I let it run.',
  uploadLabel: 'Upload for others',
  uploadHelp:
    'Other contributors fetch the shared model from this tab too, so that not everything hangs on one computer. This is the most they may take; your own updates count as well.',
  probeAgain: 'Measure again',
  start: 'Start',
  finish: 'Finish round, then stop',
  stop: 'Stop now',
  reload: 'Reload the page',
  takeOver: 'Train in this tab instead',
  how: 'How it runs',
  pace: 'How hard it works',
  paceHelp: 'Below 100% it rests between steps: less heat and noise, and as much less earned.',
  battery: 'Pause when this machine goes on battery, and go on when it is plugged in',
  awake: 'Keep the screen on while it trains',
  background:
    'It trains on while this tab is in the background. A machine that sleeps does not train; it goes on when it wakes.',
  ready: 'Not training',
  identity: 'Your identity',
  identityHelp:
    'What you earn belongs to a secret key that only this browser has. A backup is that key as a short text. It is not encrypted: whoever has it has your identity and what it earned, so keep it where only you read it.',
  identityProgram:
    'What you earn belongs to a secret key in this program’s folder. “tributary identity export” writes a backup of it, “tributary wallet link” names a wallet.',
  ownProgram:
    'The program on this machine that this page belongs to does the work; closing the page changes nothing.',
  save: 'Save a backup',
  restore: 'Restore from a backup',
  earlier: 'Identities that were here before, with what they earned',
  restoreHelp:
    'Go on as somebody you were before: in another browser, on another machine, or in the program.',
  restoreFile: 'The backup’s file',
  restoreText: 'or its text',
  restoreDo: 'Restore',
  cancel: 'Cancel',
  device: 'Device',
  deviceNone: 'Chosen when you start',
  tokens: 'Tokens trained',
  speed: 'Tokens a second',
  credits: 'Credits',
  ownLoss: 'Own loss now',
  link: 'Coordinator',
  linkOff: 'Not connected',
  earnings: 'Earnings',
  earningsUnit: 'credits, for work that was checked',
  receiptsTitle: 'Receipts, each proved here',
  receiptsEmpty:
    'Every settled round that paid you is listed here once its receipt was checked on this machine.',
  work: 'Work',
  wallet: 'Your wallet',
  walletNone: 'No wallet is linked. What you earn waits under your identity for as long as you like.',
  walletHelp:
    'What is final can be claimed to an Ethereum wallet as shares of the model: a million credits are one share, and what people pay to use the model is split over the shares. Linking is free, and you can train without it.',
  walletLink: 'Link a wallet',
  walletCheck: 'Check what can be claimed',
  wallets: 'Choose a wallet',
  walletsNone:
    'No wallet was found in this browser. Install one from its maker’s own site, or allow it on this site; it appears here by itself.',
  walletSigns:
    'The wallet asks you to sign a short text. That moves no funds and gives no approval, and nobody here ever asks for a seed phrase.',
  walletSent: 'Transactions from this browser',
  claimable: 'Claimable',
  claimableMeans: 'Final, in a root that counts on the chain, and not claimed yet.',
  claimed: 'Claimed',
  claimedMeans: 'Minted to the wallet as shares since the run began.',
  fees: 'Fees due',
  feesMean: 'The wallet’s part of what was paid for the model, in the chain’s coin.',
  ticks: 'What this tab checked itself',
  tickSigned: 'The coordinator signed its log.',
  tickLogged: 'Your earnings stand in that log.',
  tickUnrewritten: 'The log continues what this browser saw before.',
  tickLeaf: 'What the wallet has earned was recomputed from the log and proved.',
  tickRoot: 'The root on the chain is the one that the log gives.',
  lossTitle: 'Loss',
  lossHelp: 'Bits the model needs for each byte of text; lower is better.',
  lossEmpty: 'The curve begins once a round has been folded and measured.',
  lossTable: 'Show the figures as a table',
  heldout: 'Held-out text',
  own: 'Your training text',
  round: 'Round',
  samplesTitle: 'Watch it learn',
  samplesHelp:
    'Every new model begins the same two lines, so that you see it get better. This is done here while you look, at most once a minute, and takes up to two per cent of the training’s time.',
  samplesEmpty: 'The first lines come soon after training has begun.',
  tryTitle: 'Try the model',
  tryHelp:
    'It writes on from your text with the shared weights of the last round, on this machine. While it writes, training here goes on at about four fifths of its speed.',
  tryPrompt: 'Your text',
  tryExample: 'It was a fine morning, and ',
  tryLength: 'Tokens to write, at most',
  tryTemperature: 'Temperature',
  tryTemperatureHelp: 'At 0 it always writes what is likeliest; above, it draws, and more is wilder.',
  tryGo: 'Write on',
  tryStop: 'Stop writing',
  download: 'Download the model',
  downloadHelp:
    'The shared weights with configuration and tokenizer, as one archive that Hugging Face transformers loads once it is unpacked.',
  peersTitle: 'Contributors',
  peersEmpty: 'Once you have started, everyone who is training with you is listed here.',
  contributor: 'Contributor',
  path: 'Connection',
  data: 'Data',
  roundsTitle: 'Your rounds',
  roundsEmpty: 'Every round you took part in is listed here with its verdict.',
  visitsTitle: 'Your visits',
  visitsEmpty: 'What you train is summed up here by visit. It stays in this browser.',
  visitBegan: 'Began',
  visitTrained: 'Trained for',
  visitRounds: 'Rounds',
  visitsForget: 'Forget my visits',
  diagnostics: 'Diagnostics',
  diagnosticsHelp:
    'If you ask for help, this text says what this browser and this page do. It holds neither your key, nor your name here, nor addresses.',
  copy: 'Copy diagnostics',
  roundTokens: 'Tokens',
  verdict: 'Verdict',
  footer: 'Tributary is open source, Apache-2.0 or MIT. This page loads nothing from other sites.',
} as const;

/** What the script says. */
export const say = {
  identityTemporary:
    'This browser keeps no storage for this page, so your contributor name is new each time you reload and credits stay with the old one. Allow site data for this page to keep one name.',
  identityNone: 'Made when you agree to compute.',
  backupMissing: 'Not backed up yet: if this browser loses its data, what you earn is lost with it.',
  backupSaved: 'Backed up',
  backupDone: (file: string) => `Saved as ${file}. Move it to a place that only you read.`,
  saveEarlier: 'Save',
  saveEarlierNamed: (name: string) => `Save a backup of ${name}`,
  restoreDo: 'Restore',
  restoreReplace: 'Replace it and restore',
  restoreReplaces: (before: string, next: string) =>
    `This browser is ${before} now and may have earned credits as that. They stay with ${before}, whose backup you can still save here afterwards; from now on this browser earns as ${next}.`,
  restoreSame: 'That is the identity that this browser has already. Its backup is fine.',
  restoreForNow:
    'Restored for this visit only: this browser keeps no storage for this page. Allow site data for this page, then restore again.',
  restoreTooMany:
    'This browser keeps as many earlier identities as it can. Restore this one in another browser profile.',
  consentFirst: 'Please tick the box above first: nothing is computed without your agreement.',
  otherTab: 'Tributary is open in another tab of this browser, which does the training.',
  takenOver: 'Another tab of this browser does the training now; this one has stopped.',
  insecure:
    'This page did not come over https, so the browser keeps the graphics card from it and the processor computes instead.',
  noWasm:
    'This browser cannot run the trainer (WebAssembly with SIMD). Use a current Chrome, Edge, Firefox or Safari.',
  coordinatorSilent: (why: string) =>
    `The coordinator does not answer (${why}). Nothing was started: check your connection, then press Start again.`,
  loadFailed: (what: string, why: string) =>
    `${what} could not be loaded (${why}). Nothing was started: check your connection, then press Start again or reload the page.`,
  trainerFailed: (why: string) =>
    `The trainer could not start (${why}). Reload the page; if that does not help, use a current browser.`,
  partNet: 'The network part',
  partTrainer: 'The trainer',
  programGone:
    'The program does not answer: it has ended or is being started. This page goes on by itself once it is there again.',
  programToken:
    'The program does not know this page. Open the address that “tributary train” prints when it starts.',
  crashed: (why: string) =>
    `This page’s network part stopped on an error of its own (${why}); the memory may be full. Close other tabs, then reload the page: your name and credits stay.`,
  noMemory:
    'This browser has no memory left for the trainer, so nothing was started. Close other tabs or programs, then reload the page.',
  offline: (active: boolean) =>
    active
      ? 'This machine is offline. Training goes on; what it makes is sent when the connection is back, if that is within two rounds.'
      : 'This machine is offline. Nothing can start until the connection is back.',
  away: (why: string, training: boolean) =>
    `The coordinator does not answer (${why}). ${training ? 'Training goes on, and it' : 'It'} is tried again by itself.`,
  clockWrong: (by: string, behind: boolean) =>
    `This machine’s clock is ${by} ${behind ? 'behind' : 'ahead'}. Training does not need it, but secure connections fail with a wrong clock, and the times of your visits are wrong. Set the clock, then look again.`,
  noGpu:
    'No graphics card computes here, so the processor does, which is much slower. Switch hardware acceleration on in this browser’s settings or use a current Chrome, Edge or Safari, then look again.',
  tryNow: 'Try now',
  lookAgain: 'Look again',
  copied: 'Copied',
  copyFailed: 'This browser does not let the page copy: select the text instead.',
  pausedBattery: 'Paused: this machine runs on battery. It goes on when it is plugged in.',
  wasHidden: (time: string, speed: string, before: string) =>
    `While this tab was in the background, for ${time}, it trained ${speed} tokens a second; before that ${before}.`,
  probing: 'This machine is being measured, for about three seconds',
  probeFailed: 'This machine could not be measured in a few seconds. It can train all the same.',
  unnamed: 'graphics card',
  probed: {
    fast: (name: string) => `Fast: this browser computes on the ${name}.`,
    slow: (name: string) => `Slow, but useful: this browser computes on the ${name}.`,
    cpu: () =>
      'Processor only: this browser offers no graphics card to compute on. It trains and earns, but slowly.',
  },
  earnsAbout: (credits: string) =>
    `If everybody goes on as in the last rounds, it may earn about ${credits} credits an hour. An estimate, not a promise.`,
  earnsRange: (least: string, most: string) =>
    `If everybody goes on as in the last rounds, it may earn ${least} to ${most} credits an hour. An estimate, not a promise.`,
  visits: (visits: string, time: string, tokens: string, rounds: string) =>
    `Visits: ${visits}. Trained for ${time}. Tokens: ${tokens}. Rounds credited: ${rounds}.`,
  loading: (what: string) => `${what} is being loaded`,
  loaded: (done: string, total: string) => `${done} of ${total} MB`,
  opening: 'The trainer is starting',
  warmingUp: 'the first step takes longest',
  titled: (state: string) => `${state} – Tributary`,

  idle: 'Not training',
  connecting: 'Reaching the coordinator',
  waiting: 'Waiting for the next round',
  training: 'Training',
  trainingRound: (round: string) => `Training round ${round}`,
  finishing: 'Finishing, then stopping',
  finishingRound: (round: string) => `Finishing round ${round}, then stopping`,
  failed: 'Stopped',
  left: (time: string) => `${time} left`,
  folding: 'updates are being gathered; training goes on',
  roundTokens: (tokens: string) => `${tokens} tokens this round`,
  seconds: (n: string) => `${n}\u00a0s`,
  minutes: (min: string, sec: string) => `${min}\u00a0min ${sec}\u00a0s`,

  backend: { webgpu: 'Graphics card (WebGPU)', wgpu: 'Graphics card', cpu: 'Processor' },
  deviceNamed: (backend: string, name: string) => `${backend}: ${name}`,
  linkOff: 'Not connected',
  linkOnline: 'Connected',
  linkDialling: 'Connecting',
  linkAway: (wait: string, training: boolean) =>
    `The coordinator is away, trying again in ${wait}${training ? '; training goes on' : ''}`,

  runLine: (name: string, params: string, seconds: string) =>
    `${name}, ${params} parameters, rounds of ${seconds}`,
  lossSentence: (round: string, now: string) => `Held-out loss at round ${round}: ${now} bits per byte.`,
  lossChange: (round: string, change: string, down: boolean) =>
    `${down ? 'Down' : 'Up'} ${change} since round ${round}.`,
  lossOwn: (own: string) => `Yours: ${own}.`,
  lossPoint: (round: string, heldout: string, own: string) =>
    `Round ${round}: held-out ${heldout}, yours ${own}`,
  earnings: {
    provisional: {
      name: 'Provisional',
      means: 'Its round is settled; checks of it may still be going on.',
    },
    verified: {
      name: 'Verified',
      means: 'Every check of its round has ended; it is held for some rounds more.',
    },
    final: { name: 'Final', means: 'The holding time is over: nothing can take it back.' },
    forfeited: { name: 'Forfeited', means: 'Taken back, because a check proved work that was not done.' },
  },
  proofNone:
    'No receipt yet: the first comes when a round that you took part in is settled. Until then the number is what the coordinator announced.',
  proofGood: (round: string, size: string) =>
    `Proved on this machine, as of round ${round}: the coordinator’s signature, that your pay stands in its log of ${size} entries, that nothing in the log was changed since it was first seen here, and that every amount is what the rule gives.`,
  proofBad: (why: string) =>
    `Do not rely on these earnings. ${why} Save a backup, stop, and ask whoever runs this site.`,
  wallet: {
    link: 'Link a wallet',
    linkOther: 'Link another wallet',
    linkProgram: 'Link a wallet to the program',
    none: 'No wallet is linked. What you earn waits under your identity for as long as you like.',
    paid: (wallet: string) => `${wallet} gets what you earn.`,
    paidChecked: (wallet: string, size: string) =>
      `${wallet} gets what you earn: this tab read it in all ${size} entries of the log.`,
    queued: (wallet: string) => `${wallet} is linked; it enters the log with the next settled round.`,
    unproven: (wallet: string) =>
      `${wallet} gets what you earn, and never signed for that: if it is yours, link it here.`,
    pending: (now: string, next: string, round: string) =>
      `From round ${round} on, 72 hours of rounds after it was asked for, ${next} takes the place of ${now}. If that was not you, somebody has your key: link your own again before that round, and move to a new identity.`,
    program: (name: string) =>
      `A program that trains as …${name} asks for a wallet. Go on only if it is yours and shows the same name.`,
    programDone:
      'Signed. The program now shows the wallet: compare the address, then confirm it there. You can close this page.',
    linked: 'Linked.',
    linkedLater: 'Linked, from the end of the wait on: until then the wallet before gets what you earn.',
    otherPayee:
      'The coordinator says otherwise than its log which wallet gets what you earn. Check again in a minute; if it stays so, tell whoever runs this site.',
    off: 'This run is on no chain, so nothing can be claimed yet. All that is final stays yours and can be claimed once whoever runs this site has set up the contracts (tributary chain deploy) and named them in [serve.chain].',
    chooseNew: 'Which wallet gets what you earn?',
    chooseAny: 'Which wallet shall look at the chain? It signs nothing for that.',
    chooseOld: (wallet: string) =>
      `${wallet} is paid until now. Choose the wallet that has it and sign with it too, and the change holds from the next round on. Without it, the change waits 72 hours, so that you would notice if somebody had your key.`,
    without: 'Without it: wait 72 hours',
    working: 'One moment …',
    sign: (name: string) => `${name} asks you to sign. The text moves no funds and gives no approval.`,
    confirm: (name: string) => `${name} asks you to confirm the transaction.`,
    reading: (from: string) => `The log is read: ${from} entries are checked`,
    asking: 'The chain is asked through the wallet',
    claim: (amount: string) => `Claim ${amount} credits`,
    claimFees: (amount: string) => `Claim fees of ${amount}`,
    yes: 'Yes:',
    no: 'Not shown:',
    waits: (amount: string, day: string) =>
      `${amount} more credits are in a root that waits for a possible veto: claimable from ${day} on.`,
    differs: (epoch: string) =>
      `Do not claim: for epoch ${epoch} the chain has another root than the log gives. The wallet’s node may lie or be ahead of the log: check again in some minutes or with another node, and if it stays so, tell whoever runs this site.`,
    closes: (round: string) =>
      `Nothing new can be claimed now. The epoch under way closes with round ${round}; its root is then put on the chain.`,
    ways: { again: 'Try again', switch: 'Switch the wallet’s network', choose: 'Choose a wallet' },
    silent: (name: string) =>
      `${name} does not answer. Its node may be down: look whether the wallet is connected, or choose another node for this network in it.`,
    locked: (name: string) => `${name} shows this page no account. Unlock it and connect it to this site.`,
    rejected: (name: string) => `You declined in ${name}, so nothing was signed or sent.`,
    disconnected: (name: string) => `${name} has no connection to its network. Reconnect it there.`,
    unknownChain: (name: string) => `${name} does not know this network. Add it in the wallet.`,
    asksAlready: (name: string) => `${name} has a question open already. Answer it there.`,
    failed: (name: string, why: string) => `${name} could not do that (${why}).`,
    removed: 'The wallet that you used here is gone from this browser. Bring it back or choose another.',
    otherAccount: (wallet: string) =>
      `The wallet shows this page other accounts than ${wallet}. Connect that account to this site in the wallet.`,
    wrongChain: (chain: string) => `The wallet is on another network; the contracts are on chain ${chain}.`,
    coordinatorGone:
      'The coordinator does not answer, so nothing was changed. Check your connection; nothing is lost.',
    notLoaded: (why: string) =>
      `The part for wallets could not be loaded (${why}). Check your connection, then reload the page.`,
    coordinatorSays: (status: string) => `The coordinator could not do that (HTTP ${status}).`,
    sent: {
      claim: (amount: string, day: string) => `${day}: claim of ${amount} credits`,
      fees: (amount: string, day: string) => `${day}: claim of ${amount} in fees`,
    },
    states: {
      sent: 'Sent; the network has not shown it yet.',
      waiting: 'Waiting for a block.',
      stuck:
        'Still in no block: its fee may be too low. Speed it up or cancel it in the wallet; it cannot pay twice.',
      done: 'Done.',
      replaced: 'Another transaction took its place; what came of it shows when you check again.',
      failed: 'It reverted: only gas was paid, and what is due still is. Check again.',
    },
  },
  ofAll: (percent: string) => `${percent} of all`,
  bitsPerByte: (n: string) => `${n} bits per byte`,
  none: '–',

  kind: { tab: 'Tab', native: 'Native' },
  me: 'you',
  peersTotal: (shown: string, total: string) =>
    shown === total ? `${total} here` : `${total} here, ${shown} shown`,
  peerDevice: (kind: string, device: string) => (device ? `${kind}, ${device}` : kind),
  peerSpeed: (speed: string, tokens: string) => `${speed} tokens/s, ${tokens} this round`,
  path: {
    direct: 'direct',
    relayed: 'being connected',
    coordinator: 'over the coordinator',
    none: '–',
  },
  dataIn: (rate: string) => `in ${rate}`,
  dataOut: (rate: string) => `out ${rate}`,
  links: (up: string, wanted: string) => `Direct links: ${up} of ${wanted}`,
  linksMissing: (why: string) =>
    `Where no direct link comes up, the coordinator passes everything on, and training is not held up. Last attempt: ${why}.`,
  traffic: (down: string, up: string) => `Now: ${down} down, ${up} up`,
  roundBytes: (down: string, up: string) => `This round: ${down} down, ${up} up`,
  bulk: (direct: string, coordinator: string) =>
    `Model and text: ${direct} from contributors, ${coordinator} from the coordinator`,
  beginnings: ['It was a fine morning, and ', 'The king said to his '],
  atRound: (round: string) => `Round ${round}`,
  tryRate: (rate: string, training: boolean) =>
    `${rate} tokens a second, ${training ? 'while it trains' : 'without training'}`,
  tryEnd: {
    length: '',
    text: 'Here the model ended its text.',
    full: 'The model can read no more than this.',
    stopped: '',
  },
  downloading: (done: string, total: string) => `${done} of ${total} MB are packed`,
  downloaded: (file: string, size: string) => `Saved as ${file}, ${size}.`,
  who: (tabs: string, natives: string) => `Browser tabs: ${tabs}. Programs: ${natives}`,
  wholeMinutes: (n: string) => `${n}\u00a0min`,
  hours: (n: string) => `${n}\u00a0h`,
  kilobytes: (n: string) => `${n}\u00a0KB`,
  megabytes: (n: string) => `${n}\u00a0MB`,
  gigabytes: (n: string) => `${n}\u00a0GB`,
  perSecond: (bytes: string) => `${bytes}/s`,
  upload: {
    little: (limit: string) => `Little: ${limit}, for slow or metered lines`,
    some: (limit: string) => `Some: ${limit}, fine for most homes`,
    much: (limit: string) => `Much: ${limit}, for fast lines`,
    all: 'No limit',
  },

  verdict: {
    sent: 'Sent, not judged yet',
    accepted: 'Accepted, the round is being folded',
    credited: (credits: string) => `Credited ${credits}`,
    refused: (why: string) => `Not counted: ${why}`,
    withheld: (why: string) => `Not sent: ${why}`,
    watched: 'Here, but nothing sent',
  },
  state: (short: string) => `weights ${short}`,
} as const;
