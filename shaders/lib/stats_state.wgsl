// The state, in memory and as far as a workgroup has it: `State` in src/kernel/stats.rs has the layout. All of it are
// integers, which can be added in any order; floats are counted in units of 2^-32, in as many words as they need.
@group(0) @binding(4) var<storage, read_write> state: array<atomic<u32>>;

// Words of the head.
const TOKENS = 0u;
const SENTINELS = 1u;
const NOT_A_DISTRIBUTION = 2u;
const MASKED = 3u;
const MEASURED = 4u;
const SQUARES = 5u;         // three words, low first
const BAD_WEIGHTS = 8u;
const HEAD = 12u;

// Of each expert, one word in each of these rows.
const COUNTS = 0u;
const FIRSTS = 1u;
const GATES = 2u;           // two rows, low words first
const PROBABILITIES = 4u;   // two rows, low words first
const FIELDS = 6u;

fn add_to_state(word: u32, x: u32) -> u32 {
    let before = atomicAdd(&state[params.state_offset + word], x);
    return u32(before + x < x);
}

// Of two words, the first at `low` and the second at `high`.
fn add_two_to_state(low: u32, high: u32, x: vec2<u32>) {
    var upper = x.y;
    if (x.x != 0u) {
        upper += add_to_state(low, x.x);
    }
    if (upper != 0u) {
        add_to_state(high, upper);
    }
}

var<workgroup> head: array<atomic<u32>, HEAD>;

fn count(word: u32, x: u32) -> u32 {
    let before = atomicAdd(&head[word], x);
    return u32(before + x < x);
}

// Experts that a workgroup has counters of at a time.
const BINS = 256u;
const COUNTERS = 1536u;     // BINS * FIELDS

var<workgroup> bins: array<atomic<u32>, COUNTERS>;

fn count_bin(row: u32, bin: u32, x: u32) -> u32 {
    let before = atomicAdd(&bins[row * BINS + bin], x);
    return u32(before + x < x);
}

fn count_two(row: u32, bin: u32, x: vec2<u32>) {
    var upper = x.y;
    if (x.x != 0u) {
        upper += count_bin(row, bin, x.x);
    }
    if (upper != 0u) {
        count_bin(row + 1u, bin, upper);
    }
}

// x in units of 2^-32, for |x| < 2^31: in two's complement, low word first. Exact if |x| >= 2^-8.
fn fixed(x: f32) -> vec2<u32> {
    let magnitude = abs(x);
    let whole = floor(magnitude);
    let low = u32(round((magnitude - whole) * 0x1p+32));
    let high = u32(whole);
    if (x < 0.0) {
        return vec2(~low + 1u, ~high + u32(low == 0u));
    }
    return vec2(low, high);
}
