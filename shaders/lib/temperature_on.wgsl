// A negative temperature has no distribution: it counts as NaN.
fn temperature_of(row: u32) -> f32 {
    let t = temperature[entry(params.temperature, row)];
    return select(t, bitcast<f32>(params.nan), t < 0.0);
}

fn is_hard(temperature: f32) -> bool {
    return (bitcast<u32>(temperature) & 0x7fffffffu) == 0u;
}

// -inf stays -inf, at an infinite temperature too. A temperature of NaN must reach every logit.
fn tempered(row: Row, x: vec4<f32>) -> vec4<f32> {
    if (row.hard) {
        return x;
    }
    if ((bitcast<u32>(row.inverse_temperature) & 0x7fffffffu) > 0x7f800000u) {
        return vec4(bitcast<f32>(params.nan));
    }
    return select(x * row.inverse_temperature, x, is_excluded(x));
}
