//! Numbers that look like chance and are none: SplitMix64 (Steele, Lea and Flood 2014).

/// What the generator adds to its state with each number.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that the generator gives in this state; of another state one that has nothing to do with it.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
