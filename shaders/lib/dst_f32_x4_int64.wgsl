// The same bits by half as many stores, where a store costs as much however wide it is: lavapipe's take one lane after the other.
alias Dst = vec2<u64>;

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    let word = bitcast<vec4<u32>>(y);
    dst[base + quad] = vec2<u64>(word.xz) | (vec2<u64>(word.yw) << vec2(32u));
}
