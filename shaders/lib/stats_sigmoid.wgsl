// Probabilities are the sigmoids of the logits over their sum: the softmax of ln sigmoid(x), which neither overflows nor
// underflows, so that rows of very negative logits have probabilities too.
const SIGMOID = true;

// ln sigmoid(x) = min(x, 0) - ln(1 + e^-|x|). The logarithm as 2 atanh(z), z = e / (2 + e) <= 1/3: the series to z^13 is off
// by 1e-8 at most.
fn score(x: vec4<f32>) -> vec4<f32> {
    let power = exp4(at_least(-abs(x), -80.0), rounder(127.0), 0.0);
    let w = bitcast<vec4<f32>>(power.shift);
    let e = w + w * power.p;
    let z = e / (vec4(2.0) + e);
    let z2 = z * z;
    let high = 0x1.c71c72p-4 + z2 * (0x1.745d18p-4 + z2 * 0x1.3b13b2p-4);
    let series = 0x1.555556p-2 + z2 * (0x1.99999ap-3 + z2 * (0x1.24924ap-3 + z2 * high));
    return min(x, vec4(0.0)) - 2.0 * (z + z * z2 * series);
}
