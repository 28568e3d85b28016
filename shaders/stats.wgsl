// Load statistics of a tile of tokens, added to the state. Everything that is added is an integer, so that neither tiles nor
// the order of atomics show in the result.

override TILE: u32 = 64;        // tokens of one workgroup, at most

// Of each token, what turns its scores into probabilities.
struct Share {
    anchor: f32,
    floor: f32,
    correction: f32,
    bias: u32,
}

// The floor of a token without probabilities.
const NONE = 0x1p+100;

// From here on, the square of a log-sum-exp is not counted.
const SQUARE_LIMIT = 65536.0;

// Weights of this magnitude are not added up.
const WEIGHT_LIMIT = 65536.0;

var<workgroup> shares: array<Share, TILE>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (group.y * params.grid_width + group.x) * params.tile;
    if (first >= params.rows) {
        return;
    }
    let rows = min(params.tile, params.rows - first);
    for (var i = local; i < HEAD; i += WIDTH) {
        atomicStore(&head[i], 0u);
    }
    workgroupBarrier();

    // What every token is divided by, and its log-sum-exp.
    let at = Lane(local, 0u, 1u, local % LANES, LANES, false);
    for (var batch = 0u; batch < rows; batch += WIDTH / LANES) {
        let row = batch + local / LANES;
        let routed = row < rows && is_routed(first + min(row, rows - 1u));
        var mine = no_mass();
        if (routed) {
            mine = mass_of(first + row, at.first, false);
        }
        let total = reduce(at, 1u, mine, false);
        var mass = total;
        if (SIGMOID) {
            mine = no_mass();
            if (routed) {
                mine = mass_of(first + row, at.first, true);
            }
            mass = reduce(at, 1u, mine, false);
        }
        if (row < rows && at.first == 0u) {
            shares[row] = described(routed, total, mass);
        }
    }

    // Experts, as many as there are counters for.
    var given = 0u;
    for (var bin = 0u; bin < params.cols; bin += BINS) {
        let bins_used = min(params.cols - bin, BINS);
        for (var i = local; i < bins_used; i += WIDTH) {
            for (var field = 0u; field < FIELDS; field++) {
                atomicStore(&bins[field * BINS + i], 0u);
            }
        }
        workgroupBarrier();
        add_probabilities(first, rows, bin, bins_used, local);
        given += add_choices(first, rows, bin, bins_used, local);
        workgroupBarrier();
        for (var i = local; i < bins_used; i += WIDTH) {
            add_bin_to_state(i, bin + i);
        }
        workgroupBarrier();
    }

    // What `described` has counted too much.
    count(SENTINELS, 0u - given);
    workgroupBarrier();
    if (local == 0u) {
        add_head_to_state();
    }
}

// Counts a token, and keeps what its probabilities are made by.
fn described(routed: bool, total: Partial, mass: Partial) -> Share {
    let none = Share(0.0, NONE, 0.0, 0u);
    if (!routed) {
        return none;
    }
    count(TOKENS, 1u);
    count(SENTINELS, params.choices);
    if (total.exponent >= INFINITE) {
        count(NOT_A_DISTRIBUTION, 1u);
        return none;
    }
    if (total.exponent == NOTHING) {
        count(MASKED, 1u);
        return none;
    }
    let lse = log_sum_exp(normal_of(total));
    if (abs(lse) < SQUARE_LIMIT) {
        count(MEASURED, 1u);
        let square = lse * lse;
        let whole = floor(square);
        let carry = count(SQUARES, u32(round((square - whole) * 0x1p+32)));
        // A square below 2^32 and a carry may be 2^32.
        let middle = u32(whole) + carry;
        let over = count(SQUARES + 1u, middle) + u32(middle < carry);
        if (over > 0u) {
            count(SQUARES + 2u, over);
        }
    }
    let normal = normal_of(mass);
    return Share(normal.anchor, normal.floor, normal.correction, normal.bias);
}

// Probabilities in units of 2^-32, rounded: `probability` of lib/normal_extended, before its last product.
fn units(share: Share, s: vec4<f32>) -> vec4<u32> {
    let e = exp4(at_least(s - share.anchor, share.floor), rounder(0.0), share.correction);
    let w = bitcast<vec4<f32>>(e.shift + vec4(share.bias));
    // A probability of 1 is 2^-24 less: the greatest float that is below 2^32.
    let p = min(round(w + w * e.p), vec4(4294967040.0));
    return select(vec4(0u), vec4<u32>(p), share.floor < NONE);
}

// An invocation has a quad of experts; if there are more invocations than quads, several share it, each with some tokens.
fn add_probabilities(first: u32, rows: u32, bin: u32, bins_used: u32, local: u32) {
    let quads = (bins_used + 3u) / 4u;
    let sharing = max(WIDTH / quads, 1u);
    var quad = local;
    var from_row = 0u;
    if (sharing > 1u) {
        from_row = local / quads;
        quad = select(quads, local % quads, from_row < sharing);
    }
    for (; quad < quads; quad += WIDTH) {
        var low = vec4(0u);
        var high = vec4(0u);
        for (var row = from_row; row < rows; row += sharing) {
            let x = units(shares[row], scores(first + row, bin / 4u + quad, SIGMOID));
            low += x;
            high += select(vec4(0u), vec4(1u), low < x);
        }
        for (var i = 0u; i < 4u && quad * 4u + i < bins_used; i++) {
            count_two(PROBABILITIES, quad * 4u + i, vec2(low[i], high[i]));
        }
    }
}

// Returns how many choices were one of these experts.
fn add_choices(first: u32, rows: u32, bin: u32, bins_used: u32, local: u32) -> u32 {
    var given = 0u;
    for (var i = local; i < rows * params.choices; i += WIDTH) {
        let token = first + i / params.choices;
        let choice = i % params.choices;
        let expert = expert_at(token, choice) - bin;
        if (expert >= bins_used) {
            continue;
        }
        given++;
        count_bin(COUNTS, expert, 1u);
        if (choice == 0u) {
            count_bin(FIRSTS, expert, 1u);
        }
        let weight = weight_at(token, choice);
        // By bits, which also finds NaN.
        if ((bitcast<u32>(weight) & 0x7fffffffu) < bitcast<u32>(WEIGHT_LIMIT)) {
            count_two(GATES, expert, fixed(weight));
        } else {
            count(BAD_WEIGHTS, 1u);
        }
    }
    return given;
}

fn add_bin_to_state(bin: u32, expert: u32) {
    let to = HEAD + expert;
    for (var field = COUNTS; field <= FIRSTS; field++) {
        let x = atomicLoad(&bins[field * BINS + bin]);
        if (x != 0u) {
            add_to_state(to + field * params.cols, x);
        }
    }
    for (var field = GATES; field < FIELDS; field += 2u) {
        let x = vec2(atomicLoad(&bins[field * BINS + bin]), atomicLoad(&bins[(field + 1u) * BINS + bin]));
        add_two_to_state(to + field * params.cols, to + (field + 1u) * params.cols, x);
    }
}

fn add_head_to_state() {
    for (var word = TOKENS; word <= MEASURED; word++) {
        add_to_state(word, atomicLoad(&head[word]));
    }
    add_to_state(BAD_WEIGHTS, atomicLoad(&head[BAD_WEIGHTS]));
    let carry = add_to_state(SQUARES, atomicLoad(&head[SQUARES]));
    let middle = atomicLoad(&head[SQUARES + 1u]) + carry;
    let over = u32(middle < carry) + add_to_state(SQUARES + 1u, middle);
    add_to_state(SQUARES + 2u, atomicLoad(&head[SQUARES + 2u]) + over);
}
