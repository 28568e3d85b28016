// MoE routing, one invocation a token: the best columns stay in registers. First they are packed, the leading bits of their
// key with their column, so that insertion is a minimum and a maximum. Where two of the leading keys agree in all bits that
// are left, whole keys decide.

// The best in order, four to a vector, and what is next after them.
struct List {
    a: vec4<i32>,
    b: vec4<i32>,
    c: vec4<i32>,
    d: vec4<i32>,
    next: i32,
}

const LISTS = (CHOICES + 3u) / 4u;

// Where it belongs, it pushes the rest down by one place: place i has max(l[i], min(l[i - 1], x)).
fn inserted(l: List, x: i32) -> List {
    let v = vec4(x);
    var r = l;
    r.a = max(l.a, min(vec4(0x7fffffff, l.a.xyz), v));
    var last = l.a.w;
    if (LISTS > 1u) {
        r.b = max(l.b, min(vec4(l.a.w, l.b.xyz), v));
        last = l.b.w;
    }
    if (LISTS > 2u) {
        r.c = max(l.c, min(vec4(l.b.w, l.c.xyz), v));
        last = l.c.w;
    }
    if (LISTS > 3u) {
        r.d = max(l.d, min(vec4(l.c.w, l.d.xyz), v));
        last = l.d.w;
    }
    r.next = max(l.next, min(last, x));
    return r;
}

// Whole keys with their columns.
struct Best {
    a: vec4<i32>,
    b: vec4<i32>,
    c: vec4<i32>,
    d: vec4<i32>,
    columns: Chosen,
}

struct Chosen {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

struct Place {
    keys: vec4<i32>,
    columns: vec4<u32>,
}

// One vector of the list, given the place before it.
fn entered(keys: vec4<i32>, columns: vec4<u32>, before: i32, column_before: u32, key: i32, column: u32) -> Place {
    let v = vec4(key);
    let here = v > keys;
    let up = vec4(before, keys.xyz);
    let shifts = v > up;
    return Place(
        select(select(keys, v, here), up, shifts),
        select(select(columns, vec4(column), here), vec4(column_before, columns.xyz), shifts),
    );
}

// Columns come in rising order where keys are equal: one that is equal to a key in the list stays below it.
fn entered_one(best: Best, key: i32, column: u32) -> Best {
    var r = best;
    let a = entered(best.a, best.columns.a, 0x7fffffff, 0u, key, column);
    r.a = a.keys;
    r.columns.a = a.columns;
    if (LISTS > 1u) {
        let b = entered(best.b, best.columns.b, best.a.w, best.columns.a.w, key, column);
        r.b = b.keys;
        r.columns.b = b.columns;
    }
    if (LISTS > 2u) {
        let c = entered(best.c, best.columns.c, best.b.w, best.columns.b.w, key, column);
        r.c = c.keys;
        r.columns.c = c.columns;
    }
    if (LISTS > 3u) {
        let d = entered(best.d, best.columns.d, best.c.w, best.columns.c.w, key, column);
        r.d = d.keys;
        r.columns.d = d.columns;
    }
    return r;
}

fn entered_four(best: Best, key: vec4<i32>, columns: vec4<u32>) -> Best {
    return entered_one(
        entered_one(
            entered_one(entered_one(best, key.x, columns.x), key.y, columns.y),
            key.z,
            columns.z,
        ),
        key.w,
        columns.w,
    );
}

fn nothing() -> Best {
    let none = vec4(EXCLUDED);
    return Best(none, none, none, none, Chosen(vec4(0u), vec4(0u), vec4(0u), vec4(0u)));
}

fn no_list() -> List {
    let none = vec4(EXCLUDED);
    return List(none, none, none, none, EXCLUDED);
}

fn packed(key: vec4<i32>, quad: u32) -> vec4<i32> {
    let mask = vec4<i32>(vec4(params.index_mask));
    return (key & ~mask) | (mask - vec4<i32>(columns_of(quad)));
}

fn inserted_four(l: List, x: vec4<i32>) -> List {
    return inserted(inserted(inserted(inserted(l, x.x), x.y), x.z), x.w);
}

// The best of the groups that stay in the race, one bit each, and what is known of the row then.
struct Found {
    list: List,
    kept: u32,
    field: Field,
}

// The quads of a group; without groups, of the row.
fn group_quads() -> u32 {
    return params.quads / params.groups;
}

fn exact_best(token: Token, field: Field, kept: u32) -> Chosen {
    var best = nothing();
    for (var groups = kept; groups != 0u; groups &= groups - 1u) {
        let first = countTrailingZeros(groups) * group_quads();
        for (var q = first; q < first + group_quads(); q++) {
            best = entered_four(best, keys(token, field, q), columns_of(q));
        }
    }
    return best.columns;
}

fn column_in(x: vec4<i32>) -> vec4<u32> {
    let mask = vec4(params.index_mask);
    return mask - (bitcast<vec4<u32>>(x) & mask);
}

fn key_in(x: vec4<i32>) -> vec4<i32> {
    return x & ~vec4<i32>(vec4(params.index_mask));
}

// Which of four places hold the same bits of a key as the place before.
fn ties(x: vec4<i32>, before: i32) -> vec4<bool> {
    let k = key_in(x);
    return k == vec4(before, k.xyz);
}

const NO_KEY = 0x7fffffff;

// Of the choices, whether any agrees with the one before it; the first that is not chosen is not meant.
fn ties_within(l: List) -> bool {
    var tied = any(ties(l.a, NO_KEY) & choices_from(0u));
    if (LISTS > 1u) {
        tied = tied || any(ties(l.b, key_in(l.a).w) & choices_from(4u));
    }
    if (LISTS > 2u) {
        tied = tied || any(ties(l.c, key_in(l.b).w) & choices_from(8u));
    }
    if (LISTS > 3u) {
        tied = tied || any(ties(l.d, key_in(l.c).w) & choices_from(12u));
    }
    return tied;
}

// Whether the last choice and the first that is none agree: which of them is chosen is open then.
fn ties_at_the_end(l: List) -> bool {
    var x = l.a;
    if (LISTS == 2u) {
        x = l.b;
    }
    if (LISTS == 3u) {
        x = l.c;
    }
    if (LISTS == 4u) {
        x = l.d;
    }
    let k = key_in(vec4(x.yzw, l.next));
    return k[(CHOICES - 1u) % 4u] == key_in(x)[(CHOICES - 1u) % 4u];
}

fn columns_in(l: List) -> Chosen {
    return Chosen(column_in(l.a), column_in(l.b), column_in(l.c), column_in(l.d));
}

// The keys of some of the columns, others left out.
fn keys_of_choices(token: Token, field: Field, columns: vec4<u32>, first: u32) -> vec4<i32> {
    let key = keys_at(token, field, select(vec4(columns.x), columns, choices_from(first)));
    return select(vec4(EXCLUDED), key, choices_from(first));
}

fn sorted(token: Token, field: Field, c: Chosen) -> Chosen {
    var best = entered_four(nothing(), keys_of_choices(token, field, c.a, 0u), c.a);
    if (LISTS > 1u) {
        best = entered_four(best, keys_of_choices(token, field, c.b, 4u), c.b);
    }
    if (LISTS > 2u) {
        best = entered_four(best, keys_of_choices(token, field, c.c, 8u), c.c);
    }
    if (LISTS > 3u) {
        best = entered_four(best, keys_of_choices(token, field, c.d, 12u), c.d);
    }
    return best.columns;
}

fn chosen_of(token: Token, found: Found) -> Chosen {
    if (ties_at_the_end(found.list)) {
        return exact_best(token, found.field, found.kept);
    }
    let columns = columns_in(found.list);
    if (ties_within(found.list)) {
        return sorted(token, found.field, columns);
    }
    return columns;
}

// Four choices' logits; places past the last choice have -inf and are never NaN.
fn chosen_logits(token: Token, columns: vec4<u32>, first: u32) -> vec4<f32> {
    // Places past the last choice load what is loaded anyway.
    let z = logits_at(token, select(vec4(columns.x), columns, choices_from(first)));
    return select(vec4(bitcast<f32>(params.zero | 0xff800000u)), z, choices_from(first));
}

fn greatest(z: vec4<f32>) -> i32 {
    let key = key_of(z);
    return max(max(key.x, key.y), max(key.z, key.w));
}

fn finish(token: Token, field: Field, chosen: Chosen) {
    let a = chosen_logits(token, chosen.a, 0u);
    var b = a;
    var c = a;
    var d = a;
    if (LISTS > 1u) {
        b = chosen_logits(token, chosen.b, 4u);
    }
    if (LISTS > 2u) {
        c = chosen_logits(token, chosen.c, 8u);
    }
    if (LISTS > 3u) {
        d = chosen_logits(token, chosen.d, 12u);
    }
    let reference = value_of(max(max(greatest(a), greatest(b)), max(greatest(c), greatest(d))));
    let nan_chosen = any(is_nan(a) | is_nan(b) | is_nan(c) | is_nan(d));
    let spoilt = is_spoilt(field, nan_chosen);
    let e = four_scores(field, reference, a, 0u);
    var total = added_four(0.0, e);
    var f = e;
    var g = e;
    var h = e;
    if (LISTS > 1u) {
        f = four_scores(field, reference, b, 4u);
        total = added_four(total, f);
    }
    if (LISTS > 2u) {
        g = four_scores(field, reference, c, 8u);
        total = added_four(total, g);
    }
    if (LISTS > 3u) {
        h = four_scores(field, reference, d, 12u);
        total = added_four(total, h);
    }
    let inverse = inverse_of(total);
    put_four(token, 0u, chosen.a, weighed(e, inverse, spoilt));
    if (LISTS > 1u) {
        put_four(token, 4u, chosen.b, weighed(f, inverse, spoilt));
    }
    if (LISTS > 2u) {
        put_four(token, 8u, chosen.c, weighed(g, inverse, spoilt));
    }
    if (LISTS > 3u) {
        put_four(token, 12u, chosen.d, weighed(h, inverse, spoilt));
    }
    put_shared(token);
}

fn four_scores(field: Field, reference: f32, z: vec4<f32>, first: u32) -> vec4<f32> {
    return select(vec4(0.0), weight_score(field, reference, z), choices_from(first));
}

fn route(token: Token) {
    let found = found_in(token);
    finish(token, found.field, chosen_of(token, found));
}

fn run(index: u32, at: Lane, subgroup_size: u32) {
    for (var i = 0u; i < params.rows_each; i++) {
        let token = token_of((index * params.rows_each + i) * WIDTH + at.local);
        if (token.valid) {
            route(token);
        } else if (token.exists) {
            put_padding(token);
        }
    }
}
