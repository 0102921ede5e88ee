//! Every bound of the protocol, with its unit and its reason.

/// Bytes of one control frame. A fold manifest names at most [`MAX_CONTRIBUTORS`] updates at 88 bytes and
/// [`MAX_CLIPS`] times 6 each, which is the largest thing a control stream carries.
pub const MAX_CONTROL_FRAME: usize = 256 * 1024;

/// Contributors that one run serves, and updates that one round folds: what fits a control frame.
pub const MAX_CONTRIBUTORS: usize = 2048;

/// Rounds after its own in which an update still counts. A link that takes longer than two rounds for an
/// update makes them faster than it can send them.
pub const MAX_AGE: u8 = 2;

/// Tensors of one update that a fold manifest clips one by one, beyond which it clips the update as a whole: as
/// many as fit a control frame at [`MAX_CONTRIBUTORS`].
pub const MAX_CLIPS: usize = 6;

/// Bytes of one blob: the f32 weights of the largest preset (about 50M parameters, 200 MB) with
/// room for a model twice that size, and within what a 32-bit wasm memory can hold twice.
pub const MAX_BLOB: u64 = 512 * 1024 * 1024;

/// Bytes of one blob chunk: BLAKE3 chunk groups must be a power of two times 1024; 64 KiB keeps the
/// chunk list at 0.05 % of the blob and a resumed transfer loses at most that much.
pub const CHUNK: usize = 64 * 1024;

/// Bytes that contributors tell each other at once: a signed checkpoint, and room.
pub const MAX_GOSSIP: usize = 512;

/// Links that wait for the next settled round, which writes them all: a quarter of a megabyte of its batch at most
/// while their proofs are a kilobyte each, and a megabyte at the most that an entry can have.
pub const MAX_QUEUED_LINKS: usize = 256;

/// Bytes of a text field that a peer chooses (its agent string, a device name).
pub const MAX_TEXT: usize = 96;

/// Parameters of a model: [`MAX_BLOB`] of f32.
pub const MAX_PARAMS: u64 = MAX_BLOB / 4;

/// Tokens that a contributor can claim for one round. An H100 at one million tokens a second needs
/// over 18 minutes for this.
pub const MAX_TOKENS_PER_ROUND: u64 = 1 << 30;

/// Shards in a data manifest: 256 GiB of bytes tokens at the usual shard size.
pub const MAX_SHARDS: usize = 1 << 20;

/// Bytes of one data shard. A tab holds a few at a time.
pub const MAX_SHARD: u64 = 4 * 1024 * 1024;

/// Peers listed in a roster: more than a page can show, small enough for one frame.
pub const MAX_ROSTER: usize = 64;

/// Contributors that one contributor links with: enough that a blob reaches 1,000 contributors in a
/// handful of hops and that one slow neighbour doesn't matter, few enough that a tab, whose browser
/// keeps sockets and a transport for each, doesn't notice them. Even, because [`crate::links`] takes
/// two from each ring.
pub const MAX_LINKS: usize = 8;

/// Refused frames after which a connection is dropped.
pub const MAX_REFUSALS: u32 = 8;

/// The least share of the time that training can be set to, per cent: less would hardly make a step a round.
pub const LEAST_PACE: u8 = 10;

/// Bytes of a text that a model is asked to go on from and of what it writes, together: twice the context of the
/// largest preset. The device keeps keys and values for so many, and a view shows them.
pub const MAX_WRITTEN: usize = 2048;

/// Rounds and loss points that a view keeps.
pub const VIEW_HISTORY: usize = 256;
