// What every schedule of the router does to a token's logits.

struct Token {
    index: u32,
    src: u32,
    exists: bool,
    valid: bool,        // not padding
    stream: Stream,
}

fn token_of(wanted: u32) -> Token {
    let index = min(wanted, params.rows - 1u);
    let exists = wanted < params.rows;
    return Token(index, params.src_offset + index * params.src_stride, exists, exists && is_valid(index), stream_of(index));
}

// Keys order as numbers do: -0 as +0, NaN after all others. What is no column is EXCLUDED.
const LAST = -0x7fffffff;
const EXCLUDED = -0x7fffffff - 1;

fn key_of(x: vec4<f32>) -> vec4<i32> {
    let bits = bitcast<vec4<i32>>(x);
    let key = select(bits, vec4(EXCLUDED) - bits, bits < vec4(0));
    return select(key, vec4(LAST), is_nan(x));
}

fn value_of(key: i32) -> f32 {
    return bitcast<f32>(select(key, EXCLUDED - key, key < 0));
}

fn columns_of(quad: u32) -> vec4<u32> {
    return vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
}

// Logits of a quad, and of any four columns, after all that changes them.
fn logits(token: Token, quad: u32) -> vec4<f32> {
    let columns = columns_of(quad);
    return noisy(token, columns, quad_words(token, quad), capped(biased(bias_in(quad), load_quad(token.src, quad))));
}

fn logits_at(token: Token, columns: vec4<u32>) -> vec4<f32> {
    let x = vec4(
        load_one(token.src, columns.x),
        load_one(token.src, columns.y),
        load_one(token.src, columns.z),
        load_one(token.src, columns.w),
    );
    return noisy(token, columns, words_at(token, columns), capped(biased(bias_at(columns), x)));
}

// What columns are chosen by, given their logits.
fn keys_from(token: Token, field: Field, quad: u32, z: vec4<f32>) -> vec4<i32> {
    let key = key_of(ranked(field, bias_in(quad), quad_words(token, quad), z));
    return select(vec4(EXCLUDED), key, is_column(columns_of(quad)));
}

fn keys(token: Token, field: Field, quad: u32) -> vec4<i32> {
    return keys_from(token, field, quad, logits(token, quad));
}

fn keys_at(token: Token, field: Field, columns: vec4<u32>) -> vec4<i32> {
    return key_of(ranked(field, bias_at(columns), words_at(token, columns), logits_at(token, columns)));
}

// Columns at -inf have no share; where all of them are, none has.
fn distance_from(reference: f32, z: vec4<f32>) -> vec4<f32> {
    let same = bitcast<vec4<u32>>(z) == vec4(bitcast<u32>(reference));
    return select(z - vec4(reference), vec4(0.0), same);
}


fn put(token: Token, choice: u32, column: u32, weight: f32) {
    experts[params.experts_offset + token.index * params.experts_stride + choice] = select(NONE, mapped(column), token.valid);
    weights[params.weights_offset + token.index * params.weights_stride + choice] = select(0.0, weight, token.valid);
}

// No expert.
const NONE = 0xffffffffu;

fn put_four(token: Token, first: u32, columns: vec4<u32>, weight: vec4<f32>) {
    if (first < CHOICES) {
        put(token, first, columns.x, weight.x);
    }
    if (first + 1u < CHOICES) {
        put(token, first + 1u, columns.y, weight.y);
    }
    if (first + 2u < CHOICES) {
        put(token, first + 2u, columns.z, weight.z);
    }
    if (first + 3u < CHOICES) {
        put(token, first + 3u, columns.w, weight.w);
    }
}

fn put_padding(token: Token) {
    for (var i = 0u; i < CHOICES + params.shared_experts; i++) {
        put(token, i, 0u, 0.0);
    }
}

fn put_shared(token: Token) {
    for (var i = 0u; i < params.shared_experts; i++) {
        put(token, CHOICES + i, params.cols + i, params.shared_weight);
    }
}

// Scores of four choices as weights: the one NaN if spoilt, or of an infinity times 0; 0 where subnormal.
fn weighed(score: vec4<f32>, inverse: f32, spoilt: bool) -> vec4<f32> {
    let weight = settled(fenced(score * inverse) * params.scale);
    return select(weight, vec4(nan()), is_nan(score) | is_nan(weight) | vec4(spoilt));
}

fn choices_from(first: u32) -> vec4<bool> {
    return vec4(first) + vec4(0u, 1u, 2u, 3u) < vec4(CHOICES);
}

// Added one after another, in the order of choice, which no compiler may change.
fn added(total: f32, score: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(total + score) | params.zero);
}

fn added_four(total: f32, score: vec4<f32>) -> f32 {
    return added(added(added(added(total, score.x), score.y), score.z), score.w);
}
