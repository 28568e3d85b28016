// MoE routing, LANES invocations a token: the keys of a row lie in workgroup memory, each invocation knows the best of its
// own columns, and only the one whose column was chosen looks for its next.
override COLUMNS: u32 = 256;    // room for the keys of one row
override KEYS: u32 = 256;       // of all rows of the workgroup
override CHOSEN: u32 = 64;

var<workgroup> row_keys: array<i32, KEYS>;
var<workgroup> chosen: array<u32, CHOSEN>;
var<workgroup> scores: array<f32, CHOSEN>;

const CHOICE_QUADS = (CHOICES + 3u) / 4u;

fn next_after(last: Partial, key: i32, column: u32, best: Partial) -> Partial {
    let candidate = Partial(key, column, 0u, 0u);
    let after = key < last.anchor || (key == last.anchor && column > last.exponent);
    if (after && precedes(key, column, best)) {
        return candidate;
    }
    return best;
}

// Of an invocation's columns, the best of those after `last`.
fn best_after(last: Partial, at: Lane, row: u32) -> Partial {
    var best = no_mass();
    for (var q = at.first; q < params.quads; q += at.step) {
        for (var i = 0u; i < 4u; i++) {
            best = next_after(last, row_keys[row * COLUMNS + q * 4u + i], q * 4u + i, best);
        }
    }
    return best;
}

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let row = at.local / LANES;
    let token = token_of(index * (WIDTH / LANES) + row);
    let field = survey(token, at, subgroup_size);
    for (var q = at.first; q < params.quads; q += at.step) {
        let key = keys(token, field, q);
        for (var i = 0u; i < 4u; i++) {
            row_keys[row * COLUMNS + q * 4u + i] = key[i];
        }
    }
    workgroupBarrier();
    keep_groups(at, row);
    var mine = best_after(Partial(0x7fffffff, 0u, 0u, 0u), at, row);
    let slots = row * CHOICE_QUADS * 4u;
    for (var j = 0u; j < CHOICES; j++) {
        let best = reduce(at, subgroup_size, mine, true);
        if (at.first == 0u) {
            chosen[slots + j] = best.exponent;
        }
        if (best.exponent / 4u % at.step == at.first) {
            mine = best_after(best, at, row);
        }
    }
    workgroupBarrier();

    // Logits of the choices, then scores, in each other's sight.
    for (var v = at.first; v < CHOICE_QUADS; v += at.step) {
        let z = logits_at(token, columns_from(slots, v));
        for (var i = 0u; i < 4u; i++) {
            scores[slots + v * 4u + i] = z[i];
        }
    }
    workgroupBarrier();
    var greatest = EXCLUDED;
    var nan_chosen = false;
    for (var j = 0u; j < CHOICES; j++) {
        let key = key_of(vec4(scores[slots + j])).x;
        greatest = max(greatest, key);
        nan_chosen = nan_chosen || key == LAST;
    }
    workgroupBarrier();
    let reference = value_of(greatest);
    for (var v = at.first; v < CHOICE_QUADS; v += at.step) {
        let z = vec4(
            scores[slots + v * 4u],
            scores[slots + v * 4u + 1u],
            scores[slots + v * 4u + 2u],
            scores[slots + v * 4u + 3u],
        );
        let score = weight_score(field, reference, z);
        for (var i = 0u; i < 4u; i++) {
            scores[slots + v * 4u + i] = score[i];
        }
    }
    workgroupBarrier();
    var total = 0.0;
    for (var j = 0u; j < CHOICES; j++) {
        total = added(total, scores[slots + j]);
    }
    let inverse = inverse_of(total);
    let spoilt = is_spoilt(field, nan_chosen);
    for (var j = at.first; j < CHOICES; j += at.step) {
        if (token.exists) {
            put(token, j, chosen[slots + j], weighed(vec4(scores[slots + j]), inverse, spoilt).x);
        }
    }
    if (at.first == 0u && token.exists) {
        put_shared(token);
    }
}

fn columns_from(slots: u32, v: u32) -> vec4<u32> {
    let first = v * 4u;
    let last = CHOICES - 1u;
    return vec4(
        chosen[slots + first],
        chosen[slots + min(first + 1u, last)],
        chosen[slots + min(first + 2u, last)],
        chosen[slots + min(first + 3u, last)],
    );
}
