// ln(a 2^n) for a normal a > 0, as sum + error: the built-in log is wrong near 1 by millions of ULP.
//
// a 2^n = 2^e m with m in [0.707, 1.414]; ln m = 2 atanh(z), z = (m - 1) / (m + 1), |z| <= 0.1716: the
// series to z^9 is off by 7.1e-10 at most. e A is exact for |e| < 2^12.
fn ln(a: f32, n: i32) -> Two {
    let bits = bitcast<u32>(a) - 0x3f3504f3u;
    let e = f32((bitcast<i32>(bits) >> 23u) + n);
    let m = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u);
    let f = m - 1.0;
    let z = f / (m + 1.0);
    let z2 = z * z;
    let series = z2 * (0x1.555556p-2 + z2 * (0x1.99999ap-3 + z2 * (0x1.24924ap-3 + z2 * 0x1.c71c72p-4)));
    // 2 z = f - f z, and f is exact: only what is small is rounded.
    let small = z * (2.0 * series - f);
    let powers = two_sum(e * LN2_A, e * LN2_B);
    let head = two_sum(powers.sum, f);
    let whole = two_sum(head.sum, small);
    return two_sum(whole.sum, (whole.error + head.error) + powers.error);
}
