//! Links of contributors and wallets on their way into the log: what is taken is written once, whatever dies meanwhile.
#![allow(clippy::unwrap_used)]

use tributary_ledger::{Book, Entry, LinkError, LinkProof, LinkedBy, WalletProof};
use tributary_protocol::Identity;
use tributary_protocol::coordinator::{Event, Input, LinkRefusal};
use tributary_protocol::limits::MAX_QUEUED_LINKS;
use tributary_tests::desk::{Desk, people};
use tributary_tests::wallet::{message, proof, wallet};
use tributary_tests::world::{Config, Crash, World};
use tributary_tests::{Random, wallet as kit};

/// A link that is signed in second `at`.
fn link(who: &Identity, to: u8, before: Option<u8>, at: u64) -> LinkProof {
    proof(who, to, before, &message(who, to, "train.example", &format!("nonce{at}"), at))
}

/// Of a desk in its first round, in which these are.
fn desk(people: &[Identity]) -> Desk {
    let mut desk = Desk::new(1);
    people.iter().for_each(|who| desk.hello(who));
    desk
}

/// The desk's clock in seconds.
fn now(desk: &Desk) -> u64 {
    desk.now / 1000
}

/// Closes the round with one update.
fn settle(desk: &mut Desk, who: &Identity) {
    desk.update(who, 64);
    desk.now += 15_000;
    desk.input(Input::Tick);
    desk.folded();
}

/// The wallets that the log names, in their order.
fn written<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<[u8; 20]> {
    let wallets = entries.into_iter().filter_map(|entry| match entry {
        Entry::Linked { wallet, .. } => Some(*wallet),
        _ => None,
    });
    wallets.collect()
}

#[test]
fn a_link_is_journaled_and_in_the_log_with_the_next_settled_round() {
    let people = people(2);
    let mut desk = desk(&people);
    let at = now(&desk);
    let taken = desk.link(&link(&people[0], 1, None, at)).unwrap();
    assert_eq!((taken.wallet, taken.from, taken.by), (wallet(1), 0, LinkedBy::Key));
    assert!(matches!(desk.journal.last(), Some(Event::Linked { .. })));
    let account = desk.machine.account(&people[0].id());
    assert_eq!((account.wallet, account.queued), (None, Some((wallet(1), LinkedBy::Key))));
    assert!(desk.entries.is_empty(), "only a settled round writes the ledger");

    settle(&mut desk, &people[1]);
    assert_eq!(written(&desk.entries), [wallet(1)]);
    let account = desk.machine.account(&people[0].id());
    assert_eq!((account.round, account.wallet, account.queued), (Some(0), Some(taken), None));
    // Another waits 72 hours, or takes its place with the next round if the one before lets it.
    let waits = desk.link(&link(&people[0], 2, None, at + 1)).unwrap();
    assert_eq!(waits.from, 2 + 72 * 360);
    settle(&mut desk, &people[1]);
    let account = desk.machine.account(&people[0].id());
    assert_eq!((account.wallet, account.pending), (Some(taken), Some(waits)));
    let next = desk.link(&link(&people[0], 3, Some(1), at + 2)).unwrap();
    assert_eq!(next.from, 3);
    settle(&mut desk, &people[1]);
    let account = desk.machine.account(&people[0].id());
    assert_eq!((account.wallet, account.pending), (Some(next), None));
    let bytes: Vec<_> = desk.entries.iter().map(Entry::to_bytes).collect();
    assert_eq!(&Book::read(bytes, None).unwrap(), desk.machine.book());
}

#[test]
fn a_link_that_comes_while_a_round_folds_is_written_with_it() {
    let people = people(1);
    let mut desk = desk(&people);
    desk.update(&people[0], 64);
    desk.now += 15_000;
    desk.input(Input::Tick);
    let at = now(&desk);
    desk.link(&link(&people[0], 1, None, at)).unwrap();
    desk.folded();
    assert_eq!(written(&desk.entries), [wallet(1)]);
}

#[test]
fn what_the_log_would_refuse_is_not_taken() {
    let people = people(3);
    let mut desk = desk(&people[..2]);
    let at = now(&desk);
    let good = link(&people[0], 1, None, at);
    let refused = |desk: &mut Desk, proof: &LinkProof, why: LinkRefusal| {
        let before = desk.journal.len();
        assert_eq!(desk.link(proof), Err(why));
        assert_eq!(desk.journal.len(), before);
    };
    let other = LinkProof { wallet: WalletProof::Key(kit::signs(2, &good.message)), ..good.clone() };
    refused(&mut desk, &other, LinkRefusal::Link(LinkError::Wallet));
    let other = LinkProof { peer: people[1].sign_link(&good.message), ..good.clone() };
    refused(&mut desk, &other, LinkRefusal::Link(LinkError::Peer));
    refused(&mut desk, &link(&people[2], 1, None, at), LinkRefusal::Unknown);
    refused(&mut desk, &link(&people[0], 1, None, at - 300), LinkRefusal::Time);
    refused(&mut desk, &link(&people[0], 1, None, at + 61), LinkRefusal::Time);
    desk.link(&good).unwrap();
    refused(&mut desk, &link(&people[0], 2, None, at + 1), LinkRefusal::Queued);
    settle(&mut desk, &people[0]);
    refused(&mut desk, &good, LinkRefusal::Link(LinkError::Old));
    let by_another = link(&people[0], 2, Some(3), at + 1);
    refused(&mut desk, &by_another, LinkRefusal::Link(LinkError::Handover));
    // Whoever has earned something is known, here or not.
    desk.input(Input::Gone(people[0].id()));
    assert!(desk.link(&link(&people[0], 2, None, at + 1)).is_ok());
}

#[test]
fn as_many_wait_as_a_round_writes() {
    let people: Vec<_> = (0..=MAX_QUEUED_LINKS)
        .map(|n| {
            let mut secret = [7; 32];
            secret[..2].copy_from_slice(&(n as u16).to_le_bytes());
            Identity::from_secret(secret)
        })
        .collect();
    let mut desk = desk(&people);
    let at = now(&desk);
    let (last, rest) = people.split_last().unwrap();
    assert!(rest.iter().all(|who| desk.link(&link(who, 1, None, at)).is_ok()));
    assert_eq!(desk.link(&link(last, 1, None, at)), Err(LinkRefusal::Full));
    settle(&mut desk, last);
    assert_eq!(written(&desk.entries).len(), MAX_QUEUED_LINKS);
    assert!(desk.link(&link(last, 1, None, at)).is_ok());
}

/// What stands in a journal twice, or is worth nothing any more, is said and left out; the round settles all the same.
#[test]
fn an_entry_that_the_log_refuses_does_not_keep_the_round_from_settling() {
    let people = people(2);
    let mut desk = desk(&people);
    let at = now(&desk);
    desk.link(&link(&people[0], 1, None, at)).unwrap();
    for proof in [link(&people[0], 2, None, at), link(&people[0], 2, Some(3), at + 1)] {
        desk.journal.push(Event::Linked { proof: proof.to_bytes() });
    }
    desk.restart();
    people.iter().for_each(|who| desk.hello(who));
    settle(&mut desk, &people[1]);
    let who = people[0].id();
    assert_eq!(desk.unlinked, [(who, LinkError::Old), (who, LinkError::Handover)]);
    assert_eq!(written(&desk.entries), [wallet(1)]);
    desk.restart();
    assert_eq!(desk.machine.account(&who).queued, None);
    people.iter().for_each(|who| desk.hello(who));
    settle(&mut desk, &people[1]);
    assert_eq!((written(&desk.entries).len(), desk.unlinked.len()), (1, 2), "nor are they tried again");
}

/// The coordinator dies anywhere, again and again: whatever it acknowledged is in the log once.
#[test]
fn deaths_lose_no_link_and_write_none_twice() {
    let mut world = World::new(Config::calm(31, 4));
    let identities: Vec<_> = world.nodes.iter().map(|node| node.identity().clone()).collect();
    let mut random = Random::new(32);
    let mut acknowledged = Vec::new();
    world.run_rounds(2);
    for n in 0..80u8 {
        // A third of them die with the very first thing that they do, which is to journal the link.
        let after = if n % 3 == 0 { 0 } else { random.below(120) };
        world.crash_host(Crash { after, durable: n % 2 == 0, down_ms: 100 + random.below(4_000) });
        let who = &identities[usize::from(n) % 4];
        match world.names_wallet(&link(who, n + 1, None, world.now() / 1000)) {
            Ok(true) => acknowledged.push((who.id().0, wallet(n + 1))),
            // Another waits that was durable and not acknowledged, or was signed in the same second.
            Ok(false) | Err(LinkRefusal::Queued | LinkRefusal::Link(LinkError::Old)) => {}
            Err(why) => panic!("{why}"),
        }
        world.run_until(|world| world.host.machine.is_none());
        world.run_until(|world| world.host.machine.is_some());
    }
    let settled = world.host.settled();
    world.run_rounds(settled + 2);
    world.audit();
    let mut linked: Vec<_> = world
        .host
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Linked { who, wallet, .. } => Some((*who, *wallet)),
            _ => None,
        })
        .collect();
    linked.sort_unstable();
    assert!(linked.windows(2).all(|two| two[0] != two[1]), "a link is written twice");
    assert!(acknowledged.iter().all(|one| linked.contains(one)), "a link is lost");
    assert!(acknowledged.len() > 20, "only {} were acknowledged", acknowledged.len());
}
