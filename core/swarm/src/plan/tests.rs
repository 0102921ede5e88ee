use super::*;

const SILENCE: Duration = Duration::from_secs(20);
const PATIENT: Role = Role::Origin { patient: true };
const HASTY: Role = Role::Origin { patient: false };

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plan(chunks: u32) -> Plan {
    Plan::new(Bitmap::new(chunks), chunks, 7)
}

fn only(chunks: u32, which: impl IntoIterator<Item = u32>) -> Bitmap {
    let mut map = Bitmap::new(chunks);
    which.into_iter().for_each(|index| assert!(map.insert(index)));
    map
}

/// Takes from one source until it gives nothing more; returns what it gave, in order of its place.
fn drain(plan: &mut Plan, key: Key, now: Duration) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let wanted = plan.want(key, now).unwrap();
        if wanted.is_empty() {
            all.sort_unstable();
            return all;
        }
        wanted.iter().for_each(|index| plan.came(key, *index, now));
        all.extend(wanted);
    }
}

#[test]
fn one_source_is_asked_in_order_and_no_more_than_its_window() {
    let mut plan = plan(100);
    plan.join(0, HASTY, Bitmap::full(100), at(0));
    assert_eq!(plan.want(0, at(0)).unwrap(), [0, 1, 2, 3]);
    assert!(plan.want(0, at(0)).unwrap().is_empty(), "its window is full");
    (0..4).for_each(|index| plan.came(0, index, at(10)));
    assert_eq!(plan.want(0, at(10)).unwrap(), [4, 5, 6, 7, 8, 9, 10, 11], "it grows with what came");
    assert!(plan.is_asked(0, 11) && !plan.is_asked(0, 12) && !plan.is_asked(1, 11));
    for index in 4..100 {
        plan.want(0, at(20)).unwrap();
        plan.came(0, index, at(20));
    }
    assert!(plan.is_done());
    let mut large = self::plan(1000);
    large.join(0, HASTY, Bitmap::full(1000), at(0));
    for index in 0..500 {
        large.want(0, at(0)).unwrap();
        large.came(0, index, at(0));
        let under_way = (0..1000).filter(|index| large.is_asked(0, *index)).count();
        assert!(under_way <= MOST_ASKED, "{under_way}");
    }
}

#[test]
fn the_rarest_comes_first_and_equals_in_an_order_of_its_own() {
    let mut plan = plan(100);
    plan.join(0, Role::Peer, Bitmap::full(100), at(0));
    plan.join(1, Role::Peer, only(100, (0..100).filter(|index| index % 50 != 7)), at(0));
    let first = plan.want(0, at(0)).unwrap();
    assert!(first.contains(&7) && first.contains(&57), "{first:?}");
    let order = |seed| {
        let mut plan = Plan::new(Bitmap::new(100), 100, seed);
        (0..2).for_each(|key| plan.join(key, Role::Peer, Bitmap::full(100), at(0)));
        plan.want(0, at(0)).unwrap()
    };
    assert_ne!(order(1), order(2));
    assert_eq!(order(1), order(1));
}

#[test]
fn what_was_here_is_not_asked_for_and_what_a_source_owed_goes_to_others() {
    let mut plan = Plan::new(only(10, 0..6), 10, 7);
    plan.join(0, Role::Peer, Bitmap::full(10), at(0));
    plan.join(1, Role::Peer, Bitmap::full(10), at(0));
    assert_eq!(plan.want(0, at(0)).unwrap(), [6, 7, 8, 9]);
    assert!(plan.want(1, at(0)).unwrap().is_empty());
    plan.leave(0, at(0));
    assert!(plan.want(0, at(0)).is_none());
    assert_eq!(plan.want(1, at(0)).unwrap(), [6, 7, 8, 9]);
}

#[test]
fn a_patient_fetch_takes_from_the_origin_what_it_offers() {
    let mut plan = plan(100);
    plan.join(0, PATIENT, Bitmap::full(100), at(0));
    plan.join(1, Role::Peer, Bitmap::new(100), at(0));
    assert!(drain(&mut plan, 0, at(0)).is_empty());
    assert_eq!(plan.offer(0, 40..44), Some(Vec::new()));
    assert_eq!(drain(&mut plan, 0, at(0)), [40, 41, 42, 43]);
    assert!(plan.has(1, 0..50));
    assert_eq!(drain(&mut plan, 1, at(0)).len(), 46, "all that the peer has and the origin did not send");
    assert_eq!(plan.offer(0, 48..52), Some(vec![48, 49]), "what is here is not needed");
    assert_eq!(drain(&mut plan, 0, at(0)), [50, 51]);
}

#[test]
fn what_is_on_offer_is_left_to_the_origin() {
    let mut plan = plan(8);
    plan.join(0, PATIENT, Bitmap::full(8), at(0));
    plan.offer(0, 0..4).unwrap();
    plan.join(1, Role::Peer, Bitmap::full(8), at(0));
    assert_eq!(drain(&mut plan, 1, at(0)).len(), 4);
    assert_eq!(drain(&mut plan, 0, at(0)).len(), 4);
    assert!(plan.is_done());
}

#[test]
fn with_too_little_from_peers_the_origin_is_asked_for_ever_more() {
    let mut plan = plan(200);
    plan.join(0, PATIENT, Bitmap::full(200), at(0));
    plan.join(1, Role::Peer, Bitmap::new(200), at(0));
    let mut got = Vec::new();
    for second in 1..=5 {
        plan.tick(at(1000 * second), SILENCE);
        got.push(drain(&mut plan, 0, at(1000 * second)).len());
    }
    assert_eq!(got, [4, 8, 16, 32, 64]);
    plan.has(1, 0..200);
    let peers = drain(&mut plan, 1, at(5500)).len();
    assert!(peers >= FLOOR as usize && plan.is_done(), "{peers}");
}

#[test]
fn peers_that_suffice_leave_the_origin_alone() {
    let mut plan = plan(200);
    plan.join(0, PATIENT, Bitmap::full(200), at(0));
    plan.join(1, Role::Peer, Bitmap::full(200), at(0));
    for second in 1..=5 {
        let wanted = plan.want(1, at(1000 * second)).unwrap();
        assert!(wanted.len() >= FLOOR as usize);
        wanted.iter().for_each(|index| plan.came(1, *index, at(1000 * second)));
        plan.tick(at(1000 * second), SILENCE);
        assert!(plan.want(0, at(1000 * second)).unwrap().is_empty());
    }
}

#[test]
fn alone_with_the_origin_it_takes_everything() {
    let mut hasty = plan(50);
    hasty.join(0, HASTY, Bitmap::full(50), at(0));
    assert_eq!(drain(&mut hasty, 0, at(0)).len(), 50, "nobody else was asked");
    let mut patient = plan(50);
    patient.join(0, PATIENT, Bitmap::full(50), at(0));
    assert!(drain(&mut patient, 0, at(999)).is_empty(), "others may still answer");
    assert_eq!(drain(&mut patient, 0, at(1000)).len(), 50);
    let mut left = plan(50);
    left.join(0, PATIENT, Bitmap::full(50), at(0));
    left.join(1, Role::Peer, Bitmap::new(50), at(100));
    assert!(drain(&mut left, 0, at(5000)).is_empty(), "it is not alone");
    left.leave(1, at(5000));
    assert_eq!(drain(&mut left, 0, at(6000)).len(), 50);
}

#[test]
fn a_hasty_fetch_takes_from_the_origin_what_nobody_else_has() {
    let mut plan = plan(50);
    plan.join(0, HASTY, Bitmap::full(50), at(0));
    plan.join(1, Role::Peer, only(50, 0..30), at(0));
    assert_eq!(drain(&mut plan, 0, at(0)), (30..50).collect::<Vec<_>>());
    assert_eq!(drain(&mut plan, 1, at(0)), (0..30).collect::<Vec<_>>());
}

#[test]
fn news_must_be_news_and_within_the_blob() {
    let mut plan = plan(20);
    plan.join(0, PATIENT, Bitmap::full(20), at(0));
    plan.join(1, Role::Peer, only(20, 0..5), at(0));
    assert!(plan.has(1, 4..6));
    assert!(!plan.has(1, 0..6) && !plan.has(1, 19..21));
    assert_eq!(plan.offer(1, 0..1), None, "only an origin that was asked patiently offers");
    assert_eq!(plan.offer(0, 19..21), None);
    assert!(plan.offer(0, 0..2).is_some());
    assert_eq!(plan.offer(0, 0..2), None);
}

/// Ticks once a second while `lively` delivers everything that is asked of it.
fn dropped_after(plan: &mut Plan, lively: Option<Key>, seconds: u64) -> Option<(u64, &'static str)> {
    for second in 1..=seconds {
        if let Some(key) = lively {
            for index in plan.want(key, at(1000 * second)).unwrap_or_default() {
                plan.came(key, index, at(1000 * second));
            }
        }
        if let Some((_, why)) = plan.tick(at(1000 * second), SILENCE).first() {
            return Some((second, why));
        }
    }
    None
}

#[test]
fn a_source_that_stalls_is_dropped_soon_if_others_go_on_and_late_if_not() {
    let stalled = |others: bool| {
        let mut plan = plan(1000);
        plan.join(0, Role::Peer, Bitmap::full(1000), at(0));
        if others {
            plan.join(1, Role::Peer, Bitmap::full(1000), at(0));
        }
        assert_eq!(plan.want(0, at(0)).unwrap().len(), 4);
        dropped_after(&mut plan, others.then_some(1), 30)
    };
    assert_eq!(stalled(true), Some((4, "it has stalled while others go on")));
    assert_eq!(stalled(false), Some((20, "nothing comes from it")));
}

#[test]
fn a_slow_source_does_not_hold_up_the_end() {
    let mut plan = plan(14);
    plan.join(0, Role::Peer, Bitmap::full(14), at(0));
    plan.join(1, Role::Peer, Bitmap::full(14), at(0));
    let slow = plan.want(0, at(0)).unwrap();
    plan.came(0, slow[0], at(900));
    assert_eq!(drain(&mut plan, 1, at(900)).len(), 10);
    plan.came(0, slow[1], at(1900));
    let end = dropped_after(&mut plan, None, 3);
    assert_eq!(end, Some((2, "it is far slower than others that have the same")));
    assert_eq!(drain(&mut plan, 1, at(2100)).len(), 2);
    assert!(plan.is_done());
}
