// What turns a logit of the row into its probability: y = (1 + p) 2^n / sum.
struct Normal {
    anchor: f32,
    floor: f32,         // at this or less above the anchor, y is under 2^-157: it becomes 0
    correction: f32,    // 1 / sum = reciprocal * (1 + correction)
    rounder: Rounder,   // of no integer
    bias: u32,          // bits of reciprocal * 2^(32 - exponent)
    log_sum: Two,       // ln of the sum over e^anchor
}

fn normal_of(total: Partial) -> Normal {
    let reciprocal = opaque(1.0 / total.high);
    let product = two_product(reciprocal, total.high);
    let correction = ((1.0 - product.sum) - product.error) - reciprocal * total.low;
    let bits = bitcast<u32>(reciprocal);
    let least = total.exponent - 30 - i32(bits >> 23u);
    return Normal(
        total.anchor,
        f32(least + 1) * LN2,
        correction,
        rounder(0.0),
        bits + (u32(32 - total.exponent) << 23u),
        relative_log_sum(total),
    );
}

// Scaled by 2^32 until the last step, so that only the result itself can be subnormal.
fn probability(normal: Normal, x: vec4<f32>) -> vec4<f32> {
    let e = exp4(at_least(x - normal.anchor, normal.floor), normal.rounder, normal.correction);
    let w = bitcast<vec4<f32>>(e.shift + vec4(normal.bias));
    return (w + w * e.p) * 0x1p-32;
}

fn log_probability(normal: Normal, x: vec4<f32>) -> vec4<f32> {
    return ((x - normal.anchor) - normal.log_sum.sum) - normal.log_sum.error;
}

fn log_sum_exp(normal: Normal) -> f32 {
    let whole = two_sum(normal.anchor, normal.log_sum.sum);
    return whole.sum + (whole.error + normal.log_sum.error);
}

// ln((high + low) 2^exponent)
fn relative_log_sum(total: Partial) -> Two {
    let most = ln(total.high, total.exponent);
    return two_sum(most.sum, most.error + total.low / total.high);
}
