// ln(a) for a normal a > 0, as high + low: the built-in log is wrong near 1 by millions of ULP.
//
// a = 2^e m with m in [0.707, 1.414]; ln m = 2 atanh(z), z = (m - 1) / (m + 1), |z| <= 0.1716:
// the series to z^9 is off by 6e-10 at most. e A and e B are exact.
fn ln(a: f32) -> Two {
    let bits = bitcast<u32>(a) - 0x3f3504f3u;
    let e = f32(bitcast<i32>(bits) >> 23u);
    let m = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u);
    let f = m - 1.0;
    let z = f / (m + 1.0);
    let z2 = z * z;
    let series = z2 * (0x1.555556p-2 + z2 * (0x1.99999ap-3 + z2 * (0x1.24924ap-3 + z2 * 0x1.c71c72p-4)));
    // 2 z = f - f z, and f is exact: only the small part is rounded.
    let tail = z * (2.0 * series - f) + e * LN2_C;
    let head = two_sum(e * LN2_A + e * LN2_B, f);
    let whole = two_sum(head.sum, tail);
    return Two(whole.sum, whole.error + head.error);
}
