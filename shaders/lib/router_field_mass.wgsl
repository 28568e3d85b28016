// What has to be known of a whole row before its scores are: the partition function, relative to a logit that is not far
// from the greatest.
struct Field {
    spoilt: bool,       // there is a NaN
    empty: bool,        // all logits are -inf
    reference: f32,
    exponent: i32,      // of the partition function
    inverse: f32,       // of its mantissa
}

fn greatest_of(token: Token, quad: u32) -> i32 {
    let key = select(vec4(EXCLUDED), key_of(logits(token, quad)), is_column(columns_of(quad)));
    return max(max(key.x, key.y), max(key.z, key.w));
}

// exp(z - reference), where it is not too small to count.
struct Exp {
    power: Exponential,
    counts: vec4<bool>,
}

fn exp_from(reference: f32, z: vec4<f32>) -> Exp {
    let d = distance_from(reference, z);
    let sign = bitcast<vec4<u32>>(d) & vec4(0x80000000u);
    let clamped = bitcast<vec4<f32>>(min(magnitude(d), vec4(FAINT)) | sign);
    return Exp(exponential(clamped), magnitude(d) <= vec4(FAINT));
}

// The least multiple of 20 above n, for n from -100 on.
fn anchor_of(n: i32) -> i32 {
    return (n + 200) / 20 * 20 - 180;
}

fn massed(mass: Partial, reference: f32, inside: vec4<bool>, z: vec4<f32>) -> Partial {
    let e = exp_from(reference, z);
    let counts = e.counts & inside;
    let n = select(vec4(-100), e.power.n, counts);
    let anchor = max(mass.anchor & -2, anchor_of(max(max(n.x, n.y), max(n.z, n.w))));
    let m = lowered(mass, anchor);
    let shift = n - vec4(anchor);
    let x = select(vec4(0.0), raised(mantissa(e.power), max(shift, vec4(-70)) + vec4(20)), counts & (shift > vec4(-62)));
    let a = vec4<i32>(x);
    let y = (x - vec4<f32>(a)) * 1048576.0;
    let b = vec4<i32>(y);
    let c = vec4<i32>((y - vec4<f32>(b)) * 1048576.0);  // unfenced: all of it is exact
    let spoilt = any(is_nan(z) & inside);
    return Partial(
        anchor | is_odd(mass.anchor) | select(0, 1, spoilt),
        m.exponent + u32(a.x + a.y + a.z + a.w),
        m.high + u32(b.x + b.y + b.z + b.w),
        m.low + u32(c.x + c.y + c.z + c.w),
    );
}

fn field_of(reference: f32, mass: Partial) -> Field {
    let middle = mass.high + (mass.low >> 20u);
    let a = mass.exponent + (middle >> 20u);
    let b = middle & 0xfffffu;
    let c = mass.low & 0xfffffu;
    // The leading 24 bits of the three words.
    let bits = 32u - countLeadingZeros(a);
    var m = a >> (max(bits, 24u) - 24u);
    if (bits < 24u) {
        let wanted = 24u - bits;
        let more = max(wanted, 20u) - 20u;
        m = (a << wanted) | ((b << more) >> (20u - min(wanted, 20u))) | (c >> (20u - more));
    }
    let inverse = reciprocal(vec4(f32(m) * 0x1p-23));
    let empty = bitcast<u32>(reference) == 0xff800000u;
    return Field(is_odd(mass.anchor) == 1, empty, reference, i32(bits) + (mass.anchor & -2) - 21, inverse.x);
}

// The softmax of logits over the whole row.
fn share_of(field: Field, z: vec4<f32>) -> vec4<f32> {
    let e = exp_from(field.reference, z);
    let n = e.power.n - vec4(field.exponent);
    let share = fenced(raised(mantissa(e.power), max(n, vec4(-100))) * field.inverse);
    let known = select(vec4(0.0), share, e.counts & (n > vec4(-100)) & vec4(!field.empty));
    return select(known, vec4(nan()), is_nan(z));
}

// Whether a logit among the first four columns can be the reference.
fn is_near(first: f32, greatest: f32) -> bool {
    return (bitcast<u32>(first) & MAGNITUDE) < INFINITE && greatest - first <= 69.0;
}

// Where LANES invocations share a row: the greatest first.
fn survey(token: Token, at: Lane, subgroup_size: u32) -> Field {
    var mine = no_mass();
    for (var q = at.first; q < params.quads; q += at.step) {
        mine.anchor = max(mine.anchor, greatest_of(token, q));
    }
    let greatest = value_of(reduce(at, subgroup_size, mine, true).anchor);
    let first = value_of(greatest_of(token, 0u));
    let reference = select(greatest, first, is_near(first, greatest));
    mine = no_mass();
    for (var q = at.first; q < params.quads; q += at.step) {
        mine = massed(mine, reference, is_column(columns_of(q)), logits(token, q));
    }
    return field_of(reference, reduce(at, subgroup_size, mine, false));
}

// Where one invocation has a row: both at once, in the hope that the first is near.
struct Survey {
    first: f32,
    greatest: i32,
    mass: Partial,
}

fn survey_from(token: Token) -> Survey {
    return Survey(value_of(greatest_of(token, 0u)), EXCLUDED, no_mass());
}

fn surveyed(s: Survey, quad: u32, z: vec4<f32>) -> Survey {
    let inside = is_column(columns_of(quad));
    let key = select(vec4(EXCLUDED), key_of(z), inside);
    let greatest = max(max(key.x, key.y), max(key.z, key.w));
    return Survey(s.first, max(s.greatest, greatest), massed(s.mass, s.first, inside, z));
}

fn survey_of(token: Token, s: Survey) -> Field {
    let greatest = value_of(s.greatest);
    if (is_near(s.first, greatest)) {
        return field_of(s.first, s.mass);
    }
    var mass = no_mass();
    for (var q = 0u; q < params.quads; q++) {
        mass = massed(mass, greatest, is_column(columns_of(q)), logits(token, q));
    }
    return field_of(greatest, mass);
}

fn survey_alone(token: Token) -> Field {
    var s = survey_from(token);
    for (var q = 0u; q < params.quads; q++) {
        s = surveyed(s, q, logits(token, q));
    }
    return survey_of(token, s);
}
