// An expert's tokens: those of the `capacity` greatest keys of its row, best first, the lower token of equal keys first.
//
// The last key that is taken is found by its digits of 8 bits, the highest first. Tokens above it, and the first of those
// that equal it, are listed in order; a stable radix sort, lowest digit first, moves them from `chosen` to `weights`, which
// is not written yet, and back, an even number of times.

override WIDTH: u32 = 256;
override DIGITS: u32 = 16;      // of the sort
override BITS: u32 = 4;         // of one of them
override SORTERS: u32 = 128;    // invocations that sort; DIGITS * SORTERS = COUNTERS

const COUNTERS = 2048u;
const HEAPS = 8u;               // for each digit so many counters: neighbours do not add to the same one

@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<u32>;
@group(0) @binding(9) var<storage, read_write> keys: array<vec4<u32>>;

// Counters of an expert's invocations.
fn clear_counters(local: u32) {
    for (var i = local; i < COUNTERS; i += WIDTH) {
        set_count(i, 0u);
    }
}

fn tally(is_wanted: bool, key: u32, shift: u32, heap: u32) {
    if (is_wanted) {
        next_count(((key >> shift) & 255u) * HEAPS + heap);
    }
}

// Of keys that begin with what is known of the last one, the next digit.
fn tally_quad(key: vec4<u32>, known: u32, shift: u32, heap: u32) {
    // In two steps: there is no shift by 32 bits.
    let wanted = (((key ^ vec4(known)) >> vec4(shift)) >> vec4(8u)) == vec4(0u);
    if (any(wanted)) {
        tally(wanted.x, key.x, shift, heap);
        tally(wanted.y, key.y, shift, heap);
        tally(wanted.z, key.z, shift, heap);
        tally(wanted.w, key.w, shift, heap);
    }
}

// Where the next token goes, and how many of those that equal the last key may still be taken.
struct Next {
    slot: u32,
    equals: u32,
}

fn take(next: Next, to: u32, key: u32, last: u32, token: u32) -> Next {
    let equal = key == last && next.equals > 0u;
    let taken = key > last || equal;
    if (taken) {
        chosen[to + next.slot] = token;
    }
    return Next(next.slot + u32(taken), next.equals - u32(equal));
}

fn take_quad(begun: Next, to: u32, key: vec4<u32>, last: u32, token: u32) -> Next {
    var next = begun;
    if (any(key >= vec4(last))) {
        next = take(next, to, key.x, last, token);
        next = take(next, to, key.y, last, token + 1u);
        next = take(next, to, key.z, last, token + 2u);
        next = take(next, to, key.w, last, token + 3u);
    }
    return next;
}

fn count_true(a: vec4<bool>) -> u32 {
    let n = vec4<u32>(a);
    return n.x + n.y + n.z + n.w;
}

// What one invocation sorts: slots [first, end), by which digit, from where to where.
struct Turn {
    row: u32,
    chosen: u32,
    weights: u32,
    end: u32,
    shift: u32,
    back: bool,
    column: u32,
}

fn token_at(turn: Turn, i: u32) -> u32 {
    if (turn.back) {
        return weights[turn.weights + i];
    }
    return chosen[turn.chosen + i];
}

// The counter of a token's digit: greater keys come first.
fn counter_of(turn: Turn, token: u32) -> u32 {
    let key = keys[turn.row + token / 4u][token % 4u];
    return ((~key >> turn.shift) & (DIGITS - 1u)) * SORTERS + turn.column;
}

fn count_slot(turn: Turn, i: u32) {
    if (i < turn.end) {
        next_count(counter_of(turn, token_at(turn, i)));
    }
}

fn move_slot(turn: Turn, i: u32) {
    if (i < turn.end) {
        let token = token_at(turn, i);
        let to = next_count(counter_of(turn, token));
        if (turn.back) {
            chosen[turn.chosen + to] = token;
        } else {
            weights[turn.weights + to] = token;
        }
    }
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let expert = expert_of(group.y * params.grid_width + group.x, local);
    if (expert >= params.experts) {
        return;
    }
    let lane = lane_of(local);
    let row = (params.keys_offset + expert * params.keys_stride) / 4u;
    let to = params.chosen_offset + expert * params.chosen_stride;
    let pairs = params.keys_stride / 8u;    // of quads
    let wanted = min(params.capacity, valid_tokens());

    // The last key that is taken, and how many of its equals are.
    var last = 0u;
    var need = max(wanted, 1u);
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - digit * 8u;
        clear_counters(local);
        together();
        for (var p = lane; p < pairs; p += LANES) {
            tally_quad(keys[row + p * 2u], last, shift, local % HEAPS);
            tally_quad(keys[row + p * 2u + 1u], last, shift, local % HEAPS);
        }
        together();
        let at = digit_of(local, need);
        last |= at.x << shift;
        need -= at.y;
    }
    let equals = min(need, wanted);

    // Tokens in order. An invocation has a run of them.
    let run = (pairs + LANES - 1u) / LANES;
    let first = min(lane * run, pairs);
    let end = min(first + run, pairs);
    var above = 0u;
    var equal = 0u;
    if (LANES > 1u) {
        for (var p = first; p < end; p++) {
            let a = keys[row + p * 2u];
            let b = keys[row + p * 2u + 1u];
            above += count_true(a > vec4(last)) + count_true(b > vec4(last));
            equal += count_true(a == vec4(last)) + count_true(b == vec4(last));
        }
    }
    let above_before = before(local, above);
    let equal_before = min(before(local, equal), equals);
    var next = Next(above_before + equal_before, equals - equal_before);
    for (var p = first; p < end; p++) {
        next = take_quad(next, to, keys[row + p * 2u], last, p * 8u);
        next = take_quad(next, to, keys[row + p * 2u + 1u], last, p * 8u + 4u);
    }
    for (var i = wanted + lane; i < params.capacity; i += LANES) {
        chosen[to + i] = NONE;
    }
    together_in_buffers();

    // Best first. One token is in order.
    let key_bits = select(32u, 0u, params.capacity == 1u);
    let sorters = min(LANES, SORTERS);
    let some = (wanted + sorters - 1u) / sorters;
    let from_slot = min(lane * some, wanted);
    let to_slot = min(from_slot + some, wanted);
    for (var shift = 0u; shift < key_bits; shift += BITS) {
        let back = (shift / BITS) % 2u == 1u;
        let weights_at = params.weights_offset + expert * params.weights_stride;
        let turn = Turn(row, to, weights_at, to_slot, shift, back, local);
        clear_counters(local);
        together();
        for (var i = from_slot; i < to_slot; i += 4u) {
            count_slot(turn, i);
            count_slot(turn, i + 1u);
            count_slot(turn, i + 2u);
            count_slot(turn, i + 3u);
        }
        together();
        place_digits(local);
        together();
        for (var i = from_slot; i < to_slot; i += 4u) {
            move_slot(turn, i);
            move_slot(turn, i + 1u);
            move_slot(turn, i + 2u);
            move_slot(turn, i + 3u);
        }
        together_in_buffers();
    }
}
